//! What was seen to go wrong with devices that were attached and taken back, each once.

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The same switch binds in less than a second, and in fifteen.
    SlowBind,
    /// Links of single ports cannot be controlled.
    NoRetrain,
    /// Links go up and down in speed all the time.
    RestlessLink,
    /// A link needs up to three trainings.
    StubbornLink,
    /// A port forgets its link's settings when the link goes down.
    ForgetfulPort,
    /// What is plugged while the guest boots is taken for a removal later.
    BootingGuest,
    /// A guest that just got a device is busy when it is asked for it.
    BusyGuest,
    /// A guest that does not run hears nothing.
    PausedGuest,
    /// A kind of device cannot be unplugged at all.
    NoUnplug,
    /// The guest's monitor says that a device is plugged, and it does not come.
    UnawareGuest,
    /// Somebody has the device open.
    HeldOpen,
    /// The manager is started anew in the middle, and remembers only what it was to do.
    Restart,
    /// A guest does not hear the first requests while it does I/O.
    DeafGuest,
    /// Answers do not come, and go on not to come.
    NoAnswers,
    /// A second request for the same device is an error.
    SecondRequest,
    /// A command blocks for long.
    Blocks,
    /// A device does not come back from its reset.
    GoneDevice,
    /// There is no room for the memory windows of a device that was plugged.
    NoRoom,
    /// A device does not work after it went there and back.
    Unhealthy,
    /// Commands that were begun fail.
    FailsLater,
    /// A switch takes the bridge's number for the virtual switch's.
    WrongBridge,
    // The manager's own peers, beyond that list.
    /// The switch or the guest's monitor ends in the middle.
    PeerDies,
    /// Another manager binds the same device, and the switch lets it.
    Rival,
    /// The guest gives the device away by itself.
    GuestRemoves,
    /// The guest's machine ends.
    GuestEnds,
    /// A background command of the switch never ends.
    NeverEnds,
    /// The guest's monitor does not say what the guest has.
    MuteMonitor,
}

impl Field {
    pub(crate) const ALL: [Self; 27] = [
        Self::SlowBind,
        Self::NoRetrain,
        Self::RestlessLink,
        Self::StubbornLink,
        Self::ForgetfulPort,
        Self::BootingGuest,
        Self::BusyGuest,
        Self::PausedGuest,
        Self::NoUnplug,
        Self::UnawareGuest,
        Self::HeldOpen,
        Self::Restart,
        Self::DeafGuest,
        Self::NoAnswers,
        Self::SecondRequest,
        Self::Blocks,
        Self::GoneDevice,
        Self::NoRoom,
        Self::Unhealthy,
        Self::FailsLater,
        Self::WrongBridge,
        Self::PeerDies,
        Self::Rival,
        Self::GuestRemoves,
        Self::GuestEnds,
        Self::NeverEnds,
        Self::MuteMonitor,
    ];
}
