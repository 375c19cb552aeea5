//! What a guest does, and how it ends.

use std::fmt;

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It was not let run yet.
    Starting,
    /// It runs.
    Running,
    /// Somebody stopped it, or its disk did.
    Paused,
    /// It sleeps, and wakes by itself.
    Suspended,
    /// It comes from another host.
    Arriving,
    /// It went to another host.
    Moved,
    /// Its kernel or QEMU met what it could not handle.
    Crashed,
    /// It has shut down, and its process is still there.
    ShutDown,
    /// QEMU does not answer.
    Silent,
}

impl Life {
    /// Of a `status` of `query-status`; one that is not known holds the guest still in some way.
    #[must_use]
    pub fn of(status: &str) -> Self {
        match status {
            "prelaunch" => Self::Starting,
            "running" => Self::Running,
            "suspended" => Self::Suspended,
            "inmigrate" => Self::Arriving,
            "postmigrate" => Self::Moved,
            "guest-panicked" | "internal-error" => Self::Crashed,
            "shutdown" => Self::ShutDown,
            _ => Self::Paused,
        }
    }

    /// In a word or two.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Arriving => "arriving",
            Self::Moved => "moved",
            Self::Crashed => "crashed",
            Self::ShutDown => "shut down",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It shut down by itself.
    ByGuest,
    /// It was told to end.
    ByHost,
    /// Its kernel panicked.
    Panicked,
    /// It is gone, and nothing was said before.
    Vanished,
    /// Another one took its place.
    Replaced,
    /// It runs on, and is followed no more.
    LetGo,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByGuest => "it shut down",
            Self::ByHost => "it was told to end",
            Self::Panicked => "its kernel panicked",
            Self::Vanished => "it vanished without a word",
            Self::Replaced => "another one took its place",
            Self::LetGo => "it is followed no more",
        })
    }
}
