//! A thread that reads GPUs at its own pace, so that nobody waits for their driver.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::library::Library;
use super::reading::Reading;

/// Reads again and again until it is dropped. A call of the driver that hangs holds up the thread and nobody
/// else: the last reading stands, and its number tells that there is no newer one.
#[derive(Debug)]
pub struct Watch {
    latest: Arc<Mutex<Option<Arc<Reading>>>>,
    /// The thread ends with this, without anybody waiting for it.
    _stop: mpsc::Sender<()>,
}

impl Watch {
    /// Starts the thread, which reads with `pause` between two readings.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(mut library: Library, pause: Duration) -> io::Result<Self> {
        let latest = Arc::new(Mutex::new(None));
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&latest);
        std::thread::Builder::new().name("nvml".into()).spawn(move || {
            loop {
                let reading = Arc::new(library.read());
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { latest, _stop: stop })
    }

    /// The last reading, if there is one yet.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Reading>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
