//! In what ways the switch differs from the specification; each was seen on a switch of somebody else.

use crate::cxl_fm::{Dialect, LdRoute, VppbStatus};

/// In what ways the switch differs from the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// How it wants to be spoken to.
    pub dialect: Dialect,
    /// Answers have their category in the upper half of the byte.
    pub category_above: bool,
    /// Answers of the switch itself have no opcode.
    pub no_opcode: bool,
    /// When the background bit is set.
    pub background_bit: BackgroundBit,
    /// The form of an identity.
    pub identity: IdentityForm,
    /// Zeros after the answer to Identify Switch.
    pub switch_padding: u8,
    /// What a bridge says that is bound to a device that is not divided.
    pub whole_status: VppbStatus,
    /// Arguments of background commands are looked at only in the background.
    pub checks_late: bool,
    /// The same device may be bound twice.
    pub two_owners: bool,
    /// Commands that it does not know are not answered at all.
    pub silent: bool,
    /// It tells by itself what becomes of bridges.
    pub notices: bool,
    /// Ports can be controlled.
    pub port_control: bool,
    /// Ports say a width and a speed.
    pub says_links: bool,
    /// It ends when FM-API comes as another MCTP type.
    pub dies_of_types: bool,
}

/// When the background bit of an answer is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackgroundBit {
    /// When a command goes on in the background.
    Specified,
    /// Never.
    Never,
    /// Also when the switch is busy with another one.
    WhenBusy,
}

/// The form of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityForm {
    /// All of it.
    Specified,
    /// Without the component type.
    NoType,
    /// Without the subsystem.
    NoSubsystem,
}

impl Manners {
    /// As specified.
    pub const SPECIFIED: Self = Self {
        dialect: Dialect::SPECIFIED,
        category_above: false,
        no_opcode: false,
        background_bit: BackgroundBit::Specified,
        identity: IdentityForm::Specified,
        switch_padding: 0,
        whole_status: VppbStatus::Port,
        checks_late: false,
        two_owners: false,
        silent: false,
        notices: false,
        port_control: true,
        says_links: true,
        dies_of_types: false,
    };

    /// Like the CSE emulator.
    pub const CSE: Self = Self {
        dialect: Dialect::CSE,
        category_above: true,
        background_bit: BackgroundBit::Never,
        identity: IdentityForm::NoType,
        switch_padding: 20,
        silent: true,
        dies_of_types: true,
        ..Self::SPECIFIED
    };

    /// Like OpenCIS.
    pub const OPENCIS: Self = Self {
        dialect: Dialect::OPENCIS,
        no_opcode: true,
        background_bit: BackgroundBit::WhenBusy,
        identity: IdentityForm::NoSubsystem,
        whole_status: VppbStatus::Ld,
        checks_late: true,
        two_owners: true,
        notices: true,
        port_control: false,
        says_links: false,
        ..Self::SPECIFIED
    };

    /// Whether the switch dials the manager, which is so where the frame says whom a command is for.
    #[must_use]
    pub fn dials_in(&self) -> bool {
        self.dialect.lds == LdRoute::Frame
    }
}
