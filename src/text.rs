//! Words for people: plurals, lists, did-you-mean, sizes and times.

use std::time::{SystemTime, UNIX_EPOCH};

/// `1 stage`, `2 stages`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `` `a`, `b` and `c` ``.
pub fn ticked_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("`{}`", item.as_ref())).collect();
    match items.as_slice() {
        [] => String::from("nothing"),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// The candidate that `word` most likely meant, if one is near enough to be worth suggesting.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A duration in the largest two units that matter: `0.4 s`, `12 s`, `3 min 04 s`, `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=59 => format!("{whole} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// This moment in seconds since 1970; 0 where the clock says that it is earlier.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A moment in seconds since 1970 as `2026-08-03 14:05:09 UTC`.
pub fn timestamp(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, rest) = (whole / 86_400, whole % 86_400);
    // Days of eras of 400 years that begin on 1 March, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest % 3600 / 60, rest % 60)
}

/// A size in binary units: `512 B`, `3.4 MiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_agree_with_their_numbers() {
        assert_eq!(count(1, "stage"), "1 stage");
        assert_eq!(count(0, "stage"), "0 stages");
        assert_eq!(ticked_list(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(duration(184.2), "3 min 04 s");
        assert_eq!(bytes(3_565_158), "3.4 MiB");
    }

    #[test]
    fn moments_are_dates_in_leap_years_too() {
        assert_eq!(timestamp(0.0), "1970-01-01 00:00:00 UTC");
        assert_eq!(timestamp(951_782_400.0), "2000-02-29 00:00:00 UTC");
        assert_eq!(timestamp(1_785_765_909.5), "2026-08-03 14:05:09 UTC");
        assert_eq!(timestamp(4_107_542_399.0), "2100-02-28 23:59:59 UTC");
    }

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("prune.methd", ["prune.method", "train"]), Some("prune.method"));
        assert_eq!(did_you_mean("zebra", ["prune", "train"]), None);
    }
}
