//! QMP as plainly as can be: what the lab itself asks of a guest's QEMU, and the peer that Halcyon's own
//! driver is measured against. The protocol: docs/interop/qmp-spec of QEMU.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::wire::Lines;

/// How long QEMU may take to answer a command. What takes longer is told by an event.
const ANSWER: Duration = Duration::from_secs(20);

/// A connection to a monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    lines: Lines,
    /// Events that came while something else was waited for.
    events: VecDeque<Value>,
}

impl Monitor {
    /// Connects and leaves the negotiation behind.
    ///
    /// # Errors
    /// When nobody listens before the deadline, or what answers is no monitor.
    pub(crate) fn connect(path: &Path, deadline: Instant) -> anyhow::Result<Self> {
        let mut lines = Lines::connect(path, deadline)?;
        let greeting = lines.next(Instant::now() + ANSWER)?;
        if !greeting.is_some_and(|greeting| greeting.starts_with("{\"QMP\"")) {
            bail!("{} does not greet as a monitor; is it connected to somebody else?", path.display());
        }
        let mut monitor = Self { lines, events: VecDeque::new() };
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// When QEMU refuses it or is gone.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let message = json!({ "execute": command, "arguments": arguments });
        self.lines.send(&message.to_string())?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let Some(mut message) = self.read(deadline)? else { bail!("QEMU did not answer {command}") };
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("without a word");
                bail!("QEMU refused {command}: {text}");
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event that fits, and gives its data and when QEMU says it happened.
    ///
    /// # Errors
    /// When none came in time.
    pub(crate) fn event(
        &mut self,
        name: &str,
        fits: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> anyhow::Result<(Value, SystemTime)> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(mut event) = self.events.pop_front() {
                if event["event"] == name && fits(&event["data"]) {
                    let at = stamp(&event).context("an event of QEMU has no time")?;
                    return Ok((event["data"].take(), at));
                }
            }
            match self.read(deadline)? {
                Some(event) => self.events.push_back(event),
                None => bail!("no event {name} within {} s", limit.as_secs()),
            }
        }
    }

    /// Waits until a device is gone. Its children go first and name no device.
    ///
    /// # Errors
    /// When it stays.
    pub(crate) fn deleted(&mut self, device: &str, limit: Duration) -> anyhow::Result<SystemTime> {
        let (_, at) = self
            .event("DEVICE_DELETED", |data| data["device"] == device, limit)
            .with_context(|| format!("{device} was not given back"))?;
        Ok(at)
    }

    /// A property of an object.
    ///
    /// # Errors
    /// When QEMU refuses or is gone.
    pub(crate) fn property(&mut self, path: &str, property: &str) -> anyhow::Result<Value> {
        self.execute("qom-get", json!({ "path": path, "property": property }))
    }

    fn read(&mut self, deadline: Instant) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.lines.next(deadline)? else { return Ok(None) };
        serde_json::from_str(&line).map(Some).with_context(|| format!("QEMU said what is no JSON: {line}"))
    }
}

fn stamp(event: &Value) -> Option<SystemTime> {
    let part = |name: &str| event.get("timestamp")?.get(name)?.as_u64();
    let since = Duration::from_secs(part("seconds")?) + Duration::from_micros(part("microseconds")?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
