//! A running guest: its QEMU, its two monitors and the way into it. Dropping it ends it.

mod channel;
mod monitor;
pub(crate) mod process;
mod shape;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub(crate) use self::channel::{Asked, Channel, Outcome};
pub(crate) use self::monitor::Monitor;
pub(crate) use self::process::Process;
pub(crate) use self::shape::{Accelerator, HotPlug, Places, Shape};
use crate::image::Image;

/// What answers a guest that is up.
const QEMU: &str = "qemu-system-x86_64";

/// A guest that runs.
#[derive(Debug)]
pub(crate) struct Guest {
    /// What tables and messages call it.
    pub(crate) name: String,
    /// Its sockets and logs.
    pub(crate) places: Places,
    /// The lab's own monitor.
    pub(crate) monitor: Monitor,
    /// The way into it.
    pub(crate) channel: Channel,
    process: Process,
    began: Instant,
}

impl Guest {
    /// Starts a guest with its files in `folder`; [`Guest::up`] waits until it answers.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub(crate) fn start(
        name: &str,
        shape: &Shape,
        image: &Image,
        accelerator: Accelerator,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let places = Places::in_folder(&folder);
        let began = Instant::now();
        let mut process = Process::start(QEMU, &shape.arguments(image, accelerator, &places), &places.log)?;
        let (monitor, channel) = connect(&places, &mut process)
            .with_context(|| format!("QEMU did not start {name}: {}", process.said()))?;
        Ok(Self { name: name.into(), places, monitor, process, channel, began })
    }

    /// Waits until the guest answers, and gives the time since its start.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub(crate) fn up(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let asked = self.channel.ask("true", limit)?;
        self.channel.answer(&asked).with_context(|| {
            let console = std::fs::read_to_string(&self.places.console).unwrap_or_default();
            let end: Vec<&str> = console.lines().rev().take(5).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            format!("{} did not boot; its console ends: {}", self.name, end.join(" | "))
        })?;
        Ok(self.began.elapsed())
    }

    /// The process id of its QEMU.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills its QEMU.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Whether its QEMU runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Runs a script in the guest, and gives its status and output.
    ///
    /// # Errors
    /// When no answer comes; a script at its limit is killed and its status is 137.
    pub(crate) fn run(&mut self, script: &str, limit: Duration) -> anyhow::Result<Outcome> {
        let asked = self.ask(script, limit)?;
        self.answer(&asked)
    }

    /// Runs a script that has to succeed, and gives its output without white space around it.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub(crate) fn succeed(&mut self, script: &str, limit: Duration) -> anyhow::Result<String> {
        let Outcome { status, output } = self.run(script, limit)?;
        ensure!(status == 0, "in {}, `{script}` ended with {status}: {}", self.name, output.trim());
        Ok(output.trim().to_owned())
    }

    /// Begins a script whose answer is waited for later.
    ///
    /// # Errors
    /// When the guest is gone.
    pub(crate) fn ask(&mut self, script: &str, limit: Duration) -> anyhow::Result<Asked> {
        self.channel.ask(script, limit).with_context(|| format!("{} is gone", self.name))
    }

    /// Waits for a script that was begun.
    ///
    /// # Errors
    /// When no answer comes.
    pub(crate) fn answer(&mut self, asked: &Asked) -> anyhow::Result<Outcome> {
        self.channel.answer(asked).with_context(|| format!("no answer from {}", self.name))
    }

    /// Lets go of the channel and takes it up again, as a lab that was restarted would.
    ///
    /// # Errors
    /// When the guest does not listen any more.
    pub(crate) fn reconnect(&mut self) -> anyhow::Result<()> {
        self.channel = Channel::connect(&self.places.channel, soon())?;
        Ok(())
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn connect(places: &Places, process: &mut Process) -> anyhow::Result<(Monitor, Channel)> {
    let deadline = soon();
    while !places.channel.exists() {
        if let Some(status) = process.ended() {
            bail!("it ended with {status}");
        }
        ensure!(Instant::now() < deadline, "it opened no sockets");
        crate::interrupt::check()?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((Monitor::connect(&places.lab, deadline)?, Channel::connect(&places.channel, deadline)?))
}
