//! The message of the component command interface: a header of 12 bytes and a payload.
//!
//! ```text
//!   0         1    2         3       5            7                     8            10             12
//!   category  tag  reserved  opcode  length 15:0  length 20:16, BO (7)  return code  vendor status  payload
//! ```

use std::fmt;

use super::bytes::{DecodeError, LONGEST_PAYLOAD, Payload, Reader, codes};

/// Bytes of the header.
pub const HEADER: usize = 12;

/// Bit 7 of byte 7: the command goes on in the background.
const BACKGROUND: u8 = 0x80;
/// Bits 4:0 of byte 7: the upper bits of the payload's length.
const LENGTH_HIGH: u8 = 0x1F;
/// Response, as the specification has it and as one switch sends it.
const RESPONSE: [u8; 2] = [0x01, 0x10];

codes! {
    /// How a command ended (Compute Express Link Specification 3.1, table 8-36).
    ReturnCode(u16) {
        Success = 0x00: "success",
        BackgroundStarted = 0x01: "background operation started",
        InvalidInput = 0x02: "invalid input",
        Unsupported = 0x03: "unsupported",
        InternalError = 0x04: "internal error",
        RetryRequired = 0x05: "retry required",
        Busy = 0x06: "busy",
        MediaDisabled = 0x07: "media disabled",
        TransferInProgress = 0x08: "firmware transfer in progress",
        TransferOutOfOrder = 0x09: "firmware transfer out of order",
        VerificationFailed = 0x0A: "firmware verification failed",
        InvalidSlot = 0x0B: "invalid firmware slot",
        ActivationRolledBack = 0x0C: "firmware activation failed and was rolled back",
        ColdResetRequired = 0x0D: "firmware activation failed, cold reset required",
        InvalidHandle = 0x0E: "invalid handle",
        InvalidAddress = 0x0F: "invalid physical address",
        PoisonLimit = 0x10: "limit of injected poison reached",
        MediaFailure = 0x11: "permanent media failure",
        Aborted = 0x12: "aborted",
        InvalidSecurityState = 0x13: "invalid security state",
        IncorrectPassphrase = 0x14: "incorrect passphrase",
        UnsupportedInterface = 0x15: "unsupported on this mailbox or interface",
        InvalidPayloadLength = 0x16: "invalid payload length",
        InvalidLog = 0x17: "invalid log",
        Interrupted = 0x18: "interrupted",
        UnsupportedFeatureVersion = 0x19: "unsupported feature version",
        UnsupportedFeatureSelection = 0x1A: "unsupported feature selection value",
        FeatureTransferInProgress = 0x1B: "feature transfer in progress",
        FeatureTransferOutOfOrder = 0x1C: "feature transfer out of order",
        ResourcesExhausted = 0x1D: "resources exhausted",
        InvalidExtents = 0x1E: "invalid extent list",
    }
}

impl ReturnCode {
    /// Whether the command was not begun and may be sent again.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Busy | Self::RetryRequired)
    }

    /// Whether the peer cannot do it, now or later.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::InvalidInput | Self::Unsupported | Self::UnsupportedInterface)
    }
}

/// What a message asks for: command set in the upper byte, command in the lower.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u16);

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// Whether a message asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// It asks.
    Request,
    /// It answers.
    Response,
}

/// A message of the command interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether it asks or answers. Switches get it wrong: answers are told by tag.
    pub category: Category,
    /// What the answer has to repeat.
    pub tag: u8,
    /// The command. Some switches leave it out of answers.
    pub opcode: Opcode,
    /// Whether the command goes on in the background. Some switches never say so.
    pub background: bool,
    /// How the command ended; success in requests.
    pub return_code: ReturnCode,
    /// What the vendor adds.
    pub vendor_status: u16,
    /// What belongs to the command; at most [`LONGEST_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// A request.
    #[must_use]
    pub const fn request(tag: u8, opcode: Opcode, payload: Vec<u8>) -> Self {
        Self {
            category: Category::Request,
            tag,
            opcode,
            background: false,
            return_code: ReturnCode::Success,
            vendor_status: 0,
            payload,
        }
    }

    /// The answer to a request.
    #[must_use]
    pub fn response(&self, return_code: ReturnCode, payload: Vec<u8>) -> Self {
        Self {
            category: Category::Response,
            background: return_code == ReturnCode::BackgroundStarted,
            return_code,
            ..Self::request(self.tag, self.opcode, payload)
        }
    }
}

impl Payload for Message {
    /// # Panics
    /// When the payload is longer than its length field can say, which is above [`LONGEST_PAYLOAD`].
    fn put(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        assert!(self.payload.len() <= LONGEST_PAYLOAD, "a payload has at most 2^20 bytes");
        let [low, middle, high, _] = length.to_le_bytes();
        let [opcode_low, opcode_high] = self.opcode.0.to_le_bytes();
        let category = if self.category == Category::Response { RESPONSE[0] } else { 0 };
        let background = if self.background { BACKGROUND } else { 0 };
        out.extend([category, self.tag, 0, opcode_low, opcode_high, low, middle, high | background]);
        out.extend(self.return_code.code().to_le_bytes());
        out.extend(self.vendor_status.to_le_bytes());
        out.extend(&self.payload);
    }

    /// Reads one message. What follows its payload, such as the padding of a packet, is left.
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let category = match reader.u8("category")? {
            byte if RESPONSE.iter().any(|response| byte & response != 0) => Category::Response,
            _ => Category::Request,
        };
        let tag = reader.u8("tag")?;
        reader.skip(1)?;
        let opcode = Opcode(reader.u16("opcode")?);
        let [low, middle, high] = reader.array("payload length")?;
        let length = u32::from_le_bytes([low, middle, high & LENGTH_HIGH, 0]);
        let return_code = ReturnCode::from_code(reader.u16("return code")?);
        let vendor_status = reader.u16("vendor status")?;
        if length as usize > LONGEST_PAYLOAD {
            return Err(reader.wrong(
                "payload length",
                length.into(),
                "no message is longer than 2^20 bytes",
            ));
        }
        let payload = reader.bytes("payload", length as usize)?.to_vec();
        let background = high & BACKGROUND != 0;
        Ok(Self { category, tag, opcode, background, return_code, vendor_status, payload })
    }
}
