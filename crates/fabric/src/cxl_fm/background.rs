//! Commands that go on in the background, and how far they are.

use super::bytes::{DecodeError, Payload, Reader, zeros};
use super::cci::{Opcode, ReturnCode};

/// Asks how far the background command is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GetBackgroundStatus;

/// Asks to give up the background command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AbortBackground;

/// How far the background command is, or how the last one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackgroundStatus {
    /// Whether it goes on.
    pub running: bool,
    /// How much of it is done, 0 to 100; up to 127 on the wire.
    pub percent: u8,
    /// The command; 0 when there was none.
    pub opcode: Opcode,
    /// How it ended, once it has.
    pub return_code: ReturnCode,
    /// What the vendor adds.
    pub vendor_status: u16,
}

impl Payload for GetBackgroundStatus {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl Payload for AbortBackground {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl Payload for BackgroundStatus {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.running) | self.percent << 1);
        zeros(out, 1);
        out.extend(self.opcode.0.to_le_bytes());
        out.extend(self.return_code.code().to_le_bytes());
        out.extend(self.vendor_status.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = reader.u8("status")?;
        reader.skip(1)?;
        Ok(Self {
            running: status & 1 != 0,
            percent: status >> 1,
            opcode: Opcode(reader.u16("opcode")?),
            return_code: ReturnCode::from_code(reader.u16("return code")?),
            vendor_status: reader.u16("vendor status")?,
        })
    }
}
