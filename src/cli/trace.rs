//! A run as a timeline in the trace format of Chrome, which Perfetto and `chrome://tracing` show: a lane for
//! each stage that can run at the same time on a device, and one for what is fetched.
//!
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>; `X` is an
//! event with a duration, `i` a moment, `C` a count, `M` the name of a lane. Times are in microseconds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::devices::Device;
use crate::scheduler::Event;

/// What has happened, and what is open.
#[derive(Default)]
pub struct Trace {
    events: Vec<Value>,
    /// Lane names, in the order of their numbers.
    lanes: Vec<String>,
    /// Stage or value of the Hub → what runs.
    open: BTreeMap<String, Open>,
    /// When the first event came, in seconds since 1970.
    origin: Option<f64>,
}

/// Something that began.
struct Open {
    lane: usize,
    begun: f64,
    category: String,
    arguments: Value,
}

impl Trace {
    /// Takes note of an event at a moment in seconds since 1970.
    pub fn event(&mut self, event: &Event, now: f64) {
        self.origin.get_or_insert(now);
        match event {
            Event::Started { stage, kind, device, reasons, fingerprint } => {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                let arguments = json!({"key": fingerprint, "device": device, "reasons": reasons});
                let lane = match device {
                    Device::Cpu => "cpu".to_string(),
                    device => device.to_string(),
                };
                self.begin(stage, kind, &lane, arguments, now);
            }
            Event::Fetching { what, files, bytes, .. } => {
                self.begin(what, "fetch", "hub", json!({"files": files, "bytes": bytes}), now);
            }
            Event::Fetched { what, .. } => self.end(what, json!({}), now),
            Event::Finished { stage, cpu, memory, .. } => self.end(stage, json!({"cpu": cpu, "memory": memory}), now),
            Event::Pulled { stage, .. } => self.end(stage, json!({}), now),
            Event::Failed(failure) => self.end(&failure.stage, json!({"failed": failure.message}), now),
            Event::Retrying { stage, message, attempt, .. } => {
                let lane = self.open.get(stage).map_or(0, |open| open.lane);
                let arguments = json!({"attempt": attempt, "because": message});
                self.moment(&format!("{stage} is tried again"), lane, arguments, now);
            }
            Event::Ended(_) => self.close(now),
            _ => {}
        }
    }

    /// The whole trace, with what is open ending `now`.
    pub fn json(&self, now: f64) -> Value {
        let mut events = vec![json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "runner"}})];
        for (number, name) in self.lanes.iter().enumerate() {
            events.push(json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}}));
            events.push(json!({"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": number, "args": {"sort_index": number}}));
        }
        events.extend(self.events.iter().cloned());
        events.extend(self.open.iter().map(|(name, open)| self.whole(name, open, json!({"open": true}), now)));
        json!({"traceEvents": events, "displayTimeUnit": "ms"})
    }

    fn begin(&mut self, name: &str, category: &str, lane: &str, arguments: Value, now: f64) {
        // The first lane of this kind that is free.
        let taken = |name: &String| self.open.values().any(|open| self.lanes[open.lane] == *name);
        let names = (1..).map(|number| format!("{lane} {number}"));
        let name_of_lane = names.into_iter().find(|name| !taken(name)).expect("a number is free");
        let lane = self.lanes.iter().position(|known| *known == name_of_lane).unwrap_or_else(|| {
            self.lanes.push(name_of_lane);
            self.lanes.len() - 1
        });
        let open = Open { lane, begun: now, category: category.to_string(), arguments };
        self.open.insert(name.to_string(), open);
        self.count(now);
    }

    fn end(&mut self, name: &str, more: Value, now: f64) {
        let Some(open) = self.open.remove(name) else { return };
        self.events.push(self.whole(name, &open, more, now));
        self.count(now);
    }

    /// What is still open was stopped.
    fn close(&mut self, now: f64) {
        let names: Vec<String> = self.open.keys().cloned().collect();
        names.iter().for_each(|name| self.end(name, json!({"stopped": true}), now));
    }

    fn whole(&self, name: &str, open: &Open, more: Value, now: f64) -> Value {
        let mut arguments = open.arguments.clone();
        if let (Some(arguments), Value::Object(more)) = (arguments.as_object_mut(), more) {
            arguments.extend(more);
        }
        json!({
            "ph": "X", "name": name, "cat": open.category, "pid": 1, "tid": open.lane,
            "ts": self.at(open.begun), "dur": self.at(now) - self.at(open.begun), "args": arguments,
        })
    }

    fn moment(&mut self, name: &str, lane: usize, arguments: Value, now: f64) {
        let at = self.at(now);
        self.events
            .push(json!({"ph": "i", "s": "t", "name": name, "pid": 1, "tid": lane, "ts": at, "args": arguments}));
    }

    /// How many run at the same time, as a curve above the lanes.
    fn count(&mut self, now: f64) {
        let (at, running) = (self.at(now), self.open.len());
        self.events.push(json!({"ph": "C", "name": "running", "pid": 1, "ts": at, "args": {"running": running}}));
    }

    /// Microseconds since the first event.
    fn at(&self, moment: f64) -> i64 {
        ((moment - self.origin.unwrap_or(moment)) * 1e6).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn started(stage: &str, device: Device) -> Event {
        let fingerprint = Digest::of(stage.as_bytes());
        Event::Started { stage: stage.into(), kind: "train".into(), device, reasons: vec![], fingerprint }
    }

    fn finished(stage: &str) -> Event {
        Event::Finished { stage: stage.into(), wall: 1.0, cpu: 1.0, memory: None, device: Device::Cpu }
    }

    #[test]
    fn stages_that_run_at_the_same_time_have_lanes_of_their_own_and_later_ones_use_them_again() {
        let mut trace = Trace::default();
        for (event, at) in [
            (started("a", Device::Cpu), 10.0),
            (started("b", Device::Cpu), 10.5),
            (started("g", Device::Cuda(1)), 10.5),
            (finished("a"), 12.0),
            (started("c", Device::Cpu), 13.0),
            (finished("b"), 14.0),
        ] {
            trace.event(&event, at);
        }
        let json = trace.json(15.0);
        let events = json["traceEvents"].as_array().unwrap();
        let lanes: Vec<&str> = events
            .iter()
            .filter(|event| event["name"] == "thread_name")
            .map(|event| event["args"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(lanes, ["cpu 1", "cpu 2", "cuda:1 1"]);
        let spans: Vec<(&str, u64, i64, i64)> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                let number = |name: &str| event[name].as_i64().unwrap();
                (event["name"].as_str().unwrap(), event["tid"].as_u64().unwrap(), number("ts"), number("dur"))
            })
            .collect();
        assert_eq!(
            spans,
            [
                ("a", 0, 0, 2_000_000),
                ("b", 1, 500_000, 3_500_000),
                ("c", 0, 3_000_000, 2_000_000),
                ("g", 2, 500_000, 4_500_000),
            ]
        );
    }
}
