//! What `squeue` and `sacct` say of the tasks of job arrays, and what follows for a stage that has left no
//! exit file.

use std::time::Duration;

/// What Slurm says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It waits, runs, or comes to its end. The reason is Slurm's word for why it waits.
    Alive { running: bool, reason: String },
    /// It is over.
    Ended(End),
}

/// How a task came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With exit status 0.
    Completed,
    /// With another one.
    Failed,
    /// By someone, if Slurm says by whom.
    Cancelled(Option<String>),
    TimeLimit,
    OutOfMemory,
    /// The machine failed.
    NodeFailure,
    /// Another job needed the machine.
    Preempted,
}

impl End {
    /// Whether a requeue is not to be expected, nor an exit file that is late.
    pub fn is_final(&self) -> bool {
        matches!(self, End::TimeLimit | End::OutOfMemory | End::Failed | End::Cancelled(_))
    }
}

/// A state as Slurm writes it: `RUNNING`, `CANCELLED by 1000`, `OUT_OF_MEMORY`, `CANCELLED+`. A word that
/// is not known here counts as alive: nobody's work is given up for a word.
pub(super) fn state(text: &str, reason: &str) -> State {
    let mut words = text.split_whitespace();
    let word = words.next().unwrap_or_default().trim_end_matches('+');
    let end = match word {
        "COMPLETED" => End::Completed,
        "FAILED" => End::Failed,
        "CANCELLED" | "REVOKED" => End::Cancelled(words.nth(1).map(str::to_string)),
        "TIMEOUT" | "DEADLINE" => End::TimeLimit,
        "OUT_OF_MEMORY" => End::OutOfMemory,
        "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => End::NodeFailure,
        "PREEMPTED" => End::Preempted,
        _ => {
            let running = matches!(word, "RUNNING" | "COMPLETING" | "STAGE_OUT" | "SIGNALING");
            return State::Alive { running, reason: reason.to_string() };
        }
    };
    State::Ended(end)
}

/// What is known of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The id of its array.
    pub job: String,
    /// The job's name: the name of its batch. Empty where it was not asked for.
    pub name: String,
    pub index: usize,
    pub state: State,
}

/// The format of `squeue` that [`queue`] reads.
pub(super) const QUEUE_FORMAT: &str = "%F|%K|%T|%j|%r";
/// The format of `sacct` that [`accounting`] reads.
pub(super) const ACCOUNTING_FORMAT: &str = "JobID,State";

/// Reads what `squeue --noheader --format=%F|%K|%T|%j|%r` says. Lines of other form, such as a site's
/// banner, are skipped.
pub(super) fn queue(text: &str) -> Vec<Task> {
    let mut tasks = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().splitn(5, '|').collect();
        let [job, indices, state_word, name, reason] = fields[..] else { continue };
        for index in self::indices(indices) {
            let state = state(state_word, reason);
            tasks.push(Task { job: job.to_string(), name: name.to_string(), index, state });
        }
    }
    tasks
}

/// Reads what `sacct --noheader --parsable2 --format=JobID,State` says. Of a task that was requeued the
/// last line counts.
pub(super) fn accounting(text: &str) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for line in text.lines() {
        let Some((id, word)) = line.trim().split_once('|') else { continue };
        let Some((job, indices)) = id.split_once('_') else { continue };
        // `12_3.batch` is a part of the task.
        if indices.contains('.') || !job.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for index in self::indices(indices) {
            tasks.retain(|task| (task.job.as_str(), task.index) != (job, index));
            tasks.push(Task { job: job.to_string(), name: String::new(), index, state: state(word, "") });
        }
    }
    tasks
}

/// The indices in `3`, `0-5`, `[0-3,7%2]`.
fn indices(text: &str) -> Vec<usize> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let text = text.split('%').next().unwrap_or_default();
    let mut indices = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            indices.extend(first..=last.min(first + 1_000_000));
        }
    }
    indices
}

/// What is to be done about a stage without an exit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// It is submitted again, for this reason.
    Again(Again),
    /// It has failed.
    Failed(String),
}

/// Why a stage is submitted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Slurm knows nothing of its job.
    Lost,
    NodeFailure,
    Preempted,
    TimeLimit,
    OutOfMemory,
}

impl Again {
    /// What happened, as it follows on "its job".
    pub fn says(self) -> &'static str {
        match self {
            Again::Lost => "is gone: it left no exit file, and neither `squeue` nor `sacct` knows it",
            Again::NodeFailure => "ended because its node failed",
            Again::Preempted => "was preempted",
            Again::TimeLimit => "reached its time limit",
            Again::OutOfMemory => "ran out of memory",
        }
    }
}

/// Judges a task without an exit file that is in this state for so long, `None` being absence from all
/// lists. Within `grace` exit files may still be on their way through the file system, and jobs on their
/// way back to the queue.
pub(super) fn judge(state: Option<&State>, since: Duration, grace: Duration) -> Verdict {
    let end = match state {
        Some(State::Alive { .. }) => return Verdict::Wait,
        Some(State::Ended(end)) => Some(end),
        None => None,
    };
    if since < grace {
        return Verdict::Wait;
    }
    match end {
        None | Some(End::Completed) => Verdict::Again(Again::Lost),
        Some(End::NodeFailure) => Verdict::Again(Again::NodeFailure),
        Some(End::Preempted) => Verdict::Again(Again::Preempted),
        Some(End::TimeLimit) => Verdict::Again(Again::TimeLimit),
        Some(End::OutOfMemory) => Verdict::Again(Again::OutOfMemory),
        Some(End::Cancelled(by)) => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" by user {by}"));
            Verdict::Failed(format!("its job was cancelled{by}"))
        }
        Some(End::Failed) => {
            let hint = "do the compute nodes see this program and the work directory, under the same paths?";
            Verdict::Failed(format!("its job failed before the stage could say why; {hint}"))
        }
    }
}

/// Why a job will not start by itself, for the words that mean so.
pub(super) fn stuck(reason: &str) -> bool {
    const WORDS: [&str; 9] = [
        "held",
        "JobHeld",
        "DependencyNeverSatisfied",
        "BadConstraints",
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionDown",
        "PartitionInactive",
        "InvalidAccount",
    ];
    WORDS.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(running: bool, reason: &str) -> State {
        State::Alive { running, reason: reason.to_string() }
    }

    #[test]
    fn the_queue_is_read_task_by_task_and_banners_are_skipped() {
        let text = "*** Maintenance on Friday | 8:00 ***\n\
                    12|0|RUNNING|runner-a|None\n\
                    12|1|PENDING|runner-a|Resources\n\
                    13|2-4%2|PENDING|runner-b|(JobHeldUser)\n\
                    14|N/A|RUNNING|shell|None\n\
                    15|0|PREEMPTED|runner-c|None\n\
                    15|1|NODE_FAIL|runner-c|None\n";
        let task = |job: &str, name: &str, index, state| Task { job: job.into(), name: name.into(), index, state };
        assert_eq!(
            queue(text),
            [
                task("12", "runner-a", 0, alive(true, "None")),
                task("12", "runner-a", 1, alive(false, "Resources")),
                task("13", "runner-b", 2, alive(false, "(JobHeldUser)")),
                task("13", "runner-b", 3, alive(false, "(JobHeldUser)")),
                task("13", "runner-b", 4, alive(false, "(JobHeldUser)")),
                task("15", "runner-c", 0, State::Ended(End::Preempted)),
                task("15", "runner-c", 1, State::Ended(End::NodeFailure)),
            ]
        );
        assert!(stuck("(JobHeldUser)") && stuck("launch failed requeued held") && !stuck("Resources"));
    }

    #[test]
    fn accounting_is_read_by_the_last_line_of_each_task() {
        let text = "12_0|PREEMPTED\n12_0.batch|CANCELLED\n12_0|RUNNING\n12_[1-2%1]|PENDING\n12_3|CANCELLED by 1000\n\
                    12_4|OUT_OF_MEMORY\n12_4.extern|COMPLETED\n99|COMPLETED\n12_5|CANCELLED+\nnonsense\n";
        let told: Vec<(usize, State)> = accounting(text).into_iter().map(|task| (task.index, task.state)).collect();
        assert_eq!(
            told,
            [
                (0, alive(true, "")),
                (1, alive(false, "")),
                (2, alive(false, "")),
                (3, State::Ended(End::Cancelled(Some("1000".into())))),
                (4, State::Ended(End::OutOfMemory)),
                (5, State::Ended(End::Cancelled(None))),
            ]
        );
    }

    #[test]
    fn every_word_for_an_end_is_known_and_an_unknown_word_is_no_end() {
        let end = |word: &str| match state(word, "") {
            State::Ended(end) => Some(end),
            State::Alive { .. } => None,
        };
        assert_eq!(end("TIMEOUT"), Some(End::TimeLimit));
        assert_eq!(end("DEADLINE"), Some(End::TimeLimit));
        assert_eq!(end("BOOT_FAIL"), Some(End::NodeFailure));
        assert_eq!(end("FAILED"), Some(End::Failed));
        for word in ["PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "NEVER_HEARD_OF", ""] {
            assert_eq!(end(word), None, "{word}");
        }
    }

    #[test]
    fn a_stage_is_given_up_only_after_grace_and_submitted_again_where_that_may_help() {
        let (early, late, grace) = (Duration::from_secs(5), Duration::from_secs(61), Duration::from_secs(60));
        let ended = |end| Some(State::Ended(end));
        assert_eq!(judge(Some(&alive(true, "")), late, grace), Verdict::Wait);
        for end in [None, ended(End::Completed), ended(End::Failed), ended(End::Preempted)] {
            assert_eq!(judge(end.as_ref(), early, grace), Verdict::Wait, "{end:?}");
        }
        for (end, again) in [
            (None, Again::Lost),
            (ended(End::Completed), Again::Lost),
            (ended(End::NodeFailure), Again::NodeFailure),
            (ended(End::Preempted), Again::Preempted),
            (ended(End::TimeLimit), Again::TimeLimit),
            (ended(End::OutOfMemory), Again::OutOfMemory),
        ] {
            assert_eq!(judge(end.as_ref(), late, grace), Verdict::Again(again), "{end:?}");
        }
        let cancelled = judge(ended(End::Cancelled(Some("0".into()))).as_ref(), late, grace);
        assert_eq!(cancelled, Verdict::Failed("its job was cancelled by user 0".into()));
        assert!(matches!(judge(ended(End::Failed).as_ref(), late, grace), Verdict::Failed(_)));
    }
}
