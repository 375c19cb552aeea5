//! The VMs seen in a trace: names kept once, their number bounded, time only going forwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Problem, shown};
use super::limits::{MAX_NAME_BYTES, MAX_VMS};

/// Every VM's name and the time of its latest reading.
#[derive(Debug, Default)]
pub(crate) struct Vms {
    // The name is kept beside the time, so that one lookup by the borrowed name yields both.
    latest: HashMap<Arc<str>, (Arc<str>, Duration)>,
}

impl Vms {
    /// The VM of a new reading at `time`; a VM's readings come in order and never twice.
    pub(crate) fn admit(&mut self, name: &[u8], time: Duration) -> Result<Arc<str>, Problem> {
        let text = std::str::from_utf8(name).map_err(|_| bad_name(name))?;
        if let Some((vm, latest)) = self.latest.get_mut(text) {
            forward(vm, *latest, time)?;
            *latest = time;
            return Ok(Arc::clone(vm));
        }
        check_name(text)?;
        if self.latest.len() == MAX_VMS {
            return Err(Problem::new("another VM", format!("at most {MAX_VMS} VMs in one trace")));
        }
        let vm: Arc<str> = text.into();
        self.latest.insert(Arc::clone(&vm), (Arc::clone(&vm), time));
        Ok(vm)
    }

    /// Whether there was a reading of this VM.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.latest.contains_key(name)
    }
}

fn forward(vm: &str, before: Duration, time: Duration) -> Result<(), Problem> {
    if time > before {
        return Ok(());
    }
    let kind = if time == before { "a second reading" } else { "time going backwards" };
    Err(Problem::new(
        format!("{kind}: VM `{}` at {} s", shown(vm.as_bytes()), time.as_secs_f64()),
        format!("a time after {} s", before.as_secs_f64()),
    ))
}

/// Refuses what cannot be a VM's name.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(bad_name(name.as_bytes())) }
}

fn bad_name(name: &[u8]) -> Problem {
    Problem::field(
        name,
        format!("a VM's name: 1 to {MAX_NAME_BYTES} bytes of UTF-8 without control characters"),
    )
}
