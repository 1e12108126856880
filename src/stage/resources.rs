//! What a stage asks of a cluster: part of how it runs, never of its key.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The resources of one job of a cluster. What is left out is the cluster's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// The partition, or several with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Whom the job is charged to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Generic resources, such as `gpu:1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gres: Option<String>,
    /// How long the job may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Minutes>,
    /// Main memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Mebibytes>,
    /// Processor cores; as many as the stage has threads where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// How many stages one job executes, one after another: for stages that take less than queueing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u32>,
    /// Further options of `sbatch`, one each, such as `--qos=long`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Resources {
    /// These, with what `more` says instead. Options of both are kept, those of `more` last, where they win.
    pub fn with(&self, more: &Resources) -> Resources {
        let text = |more: &Option<String>, less: &Option<String>| more.clone().or_else(|| less.clone());
        Resources {
            partition: text(&more.partition, &self.partition),
            account: text(&more.account, &self.account),
            gres: text(&more.gres, &self.gres),
            time: more.time.or(self.time),
            memory: more.memory.or(self.memory),
            cpus: more.cpus.or(self.cpus),
            bundle: more.bundle.or(self.bundle),
            options: self.options.iter().chain(&more.options).cloned().collect(),
        }
    }

    /// Whether a GPU is asked for.
    pub fn gpu(&self) -> bool {
        let named = self.gres.as_ref().is_some_and(|gres| gres.split(',').any(|gres| gres.starts_with("gpu")));
        named || self.options.iter().any(|option| option.starts_with("--gpus") || option.starts_with("--gres=gpu"))
    }
}

/// A time in whole minutes, in which Slurm counts: `90 min`, `4 h`, `2 d`, `1-12:00:00`, `4:00:00`, or a
/// number of minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Minutes(pub u64);

/// An amount of memory in MiB: `16G`, `16 GiB`, `500M`, or a number of MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Mebibytes(pub u64);

/// A number or a text, as YAML has them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

/// A number with what stands behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

impl Minutes {
    /// The least number of minutes that is no shorter than `duration`.
    pub fn covering(duration: Duration) -> Minutes {
        Minutes(duration.as_millis().div_ceil(60_000).max(1) as u64)
    }
}

impl FromStr for Minutes {
    type Err = String;

    fn from_str(text: &str) -> Result<Minutes, String> {
        let wrong = || format!("`{text}` is no time; write one such as `90 min`, `4 h`, `2 d` or `1-12:00:00`");
        let clock = |text: &str, days: u64| {
            let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
            let (hours, minutes, seconds) = match (parts?.as_slice(), days) {
                ([hours, minutes, seconds], _) => (*hours, *minutes, *seconds),
                // As Slurm has it: hours and minutes behind days, minutes and seconds alone.
                ([hours, minutes], 1..) => (*hours, *minutes, 0),
                ([minutes, seconds], 0) => (0, *minutes, *seconds),
                ([hours], 1..) => (*hours, 0, 0),
                _ => return None,
            };
            Some(days * 24 * 60 + hours * 60 + minutes + seconds.div_ceil(60))
        };
        let minutes = match text.split_once('-') {
            Some((days, rest)) => days.parse().ok().filter(|days| *days > 0).and_then(|days| clock(rest, days)),
            None if text.contains(':') => clock(text, 0),
            None => split(text.trim()).and_then(|(number, unit)| match unit {
                "" | "m" | "min" => Some(number),
                "h" => number.checked_mul(60),
                "d" => number.checked_mul(24 * 60),
                "s" => Some(number.div_ceil(60)),
                _ => None,
            }),
        };
        minutes.filter(|minutes| *minutes > 0).map(Minutes).ok_or_else(wrong)
    }
}

impl FromStr for Mebibytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Mebibytes, String> {
        let size = split(text.trim()).and_then(|(number, unit)| match unit {
            "" | "M" | "MB" | "MiB" => Some(number),
            "G" | "GB" | "GiB" => number.checked_mul(1 << 10),
            "T" | "TB" | "TiB" => number.checked_mul(1 << 20),
            _ => None,
        });
        let wrong = || format!("`{text}` is no amount of memory; write one such as `16G` or `500M`");
        size.filter(|size| *size > 0).map(Mebibytes).ok_or_else(wrong)
    }
}

impl TryFrom<Written> for Minutes {
    type Error = String;

    fn try_from(written: Written) -> Result<Minutes, String> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<Written> for Mebibytes {
    type Error = String;

    fn try_from(written: Written) -> Result<Mebibytes, String> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} min", self.0)
    }
}

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0)
    }
}

impl From<Minutes> for String {
    fn from(minutes: Minutes) -> String {
        minutes.to_string()
    }
}

impl From<Mebibytes> for String {
    fn from(size: Mebibytes) -> String {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_as_slurm_write_them() {
        let minutes = |text: &str| text.parse::<Minutes>().map(|minutes| minutes.0).ok();
        let read = ["90", "90 min", "4 h", "4h", "2 d", "90 s"].map(minutes);
        assert_eq!(read, [Some(90), Some(90), Some(240), Some(240), Some(2880), Some(2)]);
        let read = ["4:00:00", "10:30", "1-12", "1-12:30", "1-12:30:01"].map(minutes);
        assert_eq!(read, [Some(240), Some(11), Some(2160), Some(2190), Some(2191)]);
        assert_eq!(["", "0", "-5", "4 hours", "1:2:3:4", "a:b", "1-"].map(minutes), [None; 7]);
    }

    #[test]
    fn memory_is_read_in_binary_units() {
        let size = |text: &str| text.parse::<Mebibytes>().map(|size| size.0).ok();
        assert_eq!(
            ["500", "500M", "16G", "16 GiB", "1T"].map(size),
            [Some(500), Some(500), Some(16384), Some(16384), Some(1 << 20)]
        );
        assert_eq!(["", "0G", "many", "1.5G", "-1G"].map(size), [None; 5]);
    }

    #[test]
    fn what_is_said_later_wins_and_options_are_kept() {
        let site: Resources =
            serde_json::from_str(r#"{"partition": "cpu", "time": "1 h", "options": ["--qos=a"]}"#).unwrap();
        let stage: Resources =
            serde_json::from_str(r#"{"gres": "gpu:1", "time": 30, "options": ["--qos=b"]}"#).unwrap();
        let both = site.with(&stage);
        assert_eq!((both.partition.as_deref(), both.time), (Some("cpu"), Some(Minutes(30))));
        assert_eq!(both.options, ["--qos=a", "--qos=b"]);
        assert!(both.gpu() && !site.gpu());
        assert_eq!(serde_json::from_value::<Resources>(serde_json::to_value(&both).unwrap()).unwrap(), both);
    }
}
