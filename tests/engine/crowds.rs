//! Many short stages, which are claimed and recorded together.

use runner::plan::Plan;
use runner::scheduler::Options;
use serde_json::json;

use crate::project::{Project, Sketch};

/// Short stages that depend on nothing, with one in the middle that fails.
fn crowd(failing: bool) -> Plan {
    let mut sketch = Sketch::new();
    for number in 0..200 {
        match number {
            100 if failing => sketch.stage("bad", "fail", json!({"text": ""}), &[]),
            _ => sketch.write(&number.to_string(), &format!("text {number}")),
        };
    }
    sketch.plan
}

fn two_jobs() -> Options {
    Options { jobs: 2, ..Options::default() }
}

/// How many stages the database says somebody runs.
fn claims(project: &Project) -> i64 {
    let connection = rusqlite::Connection::open(project.path("work/cache.sqlite")).unwrap();
    connection.query_row("SELECT count(*) FROM claims", [], |row| row.get(0)).unwrap()
}

#[test]
fn two_runs_at_once_do_each_stage_of_a_crowd_once() {
    let project = Project::new();
    let plan = crowd(false);
    let stories = std::thread::scope(|scope| {
        let run = || scope.spawn(|| project.run_with(&plan, two_jobs()));
        [run(), run()].map(|run| run.join().unwrap())
    });
    let mut ran: Vec<&str> = stories.iter().flat_map(|story| story.ran()).collect();
    ran.sort_unstable();
    let mut all: Vec<&str> = plan.order().map(|stage| plan[stage].name()).collect();
    all.sort_unstable();
    assert_eq!(ran, all);
    assert!(stories.iter().all(|story| story.outcome.is_complete()));
    assert_eq!(claims(&project), 0);
}

#[test]
fn what_is_claimed_and_not_started_when_a_run_ends_is_given_up() {
    let project = Project::new();
    let plan = crowd(true);
    let story = project.run_with(&plan, two_jobs());
    assert_eq!(story.outcome.failures.len(), 1);
    assert!(story.ran().len() < 199, "it went on");
    assert_eq!(claims(&project), 0);
    // What had ended is recorded.
    let recorded = project.cache().entries().unwrap().len();
    assert_eq!(recorded, story.ran().len() - 1);
    assert_eq!(project.run_with(&crowd(false), two_jobs()).ran().len(), 200 - recorded);
}
