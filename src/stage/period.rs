//! A stretch of time as people write it: `90 s`, `2h`, `1 d 12 h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};

/// Word, and how many milliseconds it stands for; from the largest down.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// A stretch of time above zero, exact to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Period(u64);

/// A text that is no stretch of time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no time; write such as `90 s`, `30 min`, `2 h` or `7 d`")]
pub struct NotAPeriod(String);

impl Period {
    /// So many whole seconds.
    pub const fn seconds(seconds: u64) -> Period {
        Period(seconds * 1_000)
    }

    /// For the clock.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Period {
    /// Reads back as the same period.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut parts = Vec::new();
        for (word, size) in UNITS {
            if rest >= size {
                parts.push(format!("{} {word}", rest / size));
                rest %= size;
            }
        }
        write!(to, "{}", if parts.is_empty() { "0 s".to_string() } else { parts.join(" ") })
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    /// Numbers with units, largest first or not; a number alone counts seconds.
    fn from_str(text: &str) -> Result<Period, NotAPeriod> {
        let wrong = || NotAPeriod(text.to_string());
        let mut rest = text.trim();
        let mut sum = 0.0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
            rest = rest[end..].trim_start();
            let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let size = match &rest[..end] {
                "" if rest.is_empty() => 1_000,
                "m" => 60_000,
                word => UNITS.iter().find(|(unit, _)| *unit == word).ok_or_else(wrong)?.1,
            };
            sum += number * size as f64;
            rest = rest[end..].trim_start();
        }
        let milliseconds = sum.round();
        // Ten thousand years are a slip of the pen.
        if !(1.0..3.2e14).contains(&milliseconds) {
            return Err(wrong());
        }
        Ok(Period(milliseconds as u64))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Period;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(to, "a time such as `90 s` or `2 h`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Period, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Period, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Period, E> {
                format!("{seconds} s").parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Written).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in
            [("90", 90.0), ("90 s", 90.0), ("2h", 7200.0), ("1 h 30 min", 5400.0), ("1.5 h", 5400.0), ("7d", 604_800.0)]
        {
            assert_eq!(text.parse::<Period>().unwrap().duration().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "0", "h", "2 fortnights", "-3 s", "1e9 d", "2 h soon"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_reads_back_as_it_was_written(milliseconds in 1_u64..100_000_000_000) {
            let period = Period(milliseconds);
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
            let json = serde_json::to_string(&period).unwrap();
            prop_assert_eq!(serde_json::from_str::<Period>(&json).unwrap(), period);
        }
    }
}
