//! Commands for a device behind a switch, carried inside a command to the switch.
//!
//! Two dialects are spoken: with the MCTP type of the inner message before it, and without. A peer that is
//! spoken to in the wrong one answers that the input is invalid; see [`Dialect`](super::Dialect).

use super::bytes::{DecodeError, Payload, Reader, codes, zeros};
use super::cci::Message;
use super::mctp::MessageType;

codes! {
    /// What behind a port is meant.
    TunnelTarget(u8) {
        PortOrLd = 0: "port or logical device",
        PoolCci = 1: "the LD pool's own interface",
    }
}

/// A command to what is behind a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The port, or the logical device where the tunnel begins at an MLD.
    pub port: u8,
    /// What behind it.
    pub target: TunnelTarget,
    /// The inner message.
    pub message: Message,
}

impl Tunnel {
    /// Appends the payload; `typed` with the MCTP type of the inner message.
    ///
    /// # Errors
    /// When the inner message is longer than the field of its size can say.
    pub fn put(&self, typed: bool, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.extend([self.port, self.target.code()]);
        put_inner(&self.message, typed, 0, out)
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When the bytes end too early, or the inner message is no message.
    pub fn take(typed: bool, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("a tunnel request", payload);
        let port = reader.u8("port or LD")?;
        let target = TunnelTarget::from_code(reader.u8("target type")?);
        let size = reader.u16("command size")?;
        Ok(Self { port, target, message: inner(&mut reader, size, typed)? })
    }

    /// Appends the payload of the answer that carries `message`.
    ///
    /// # Errors
    /// When the inner message is longer than the field of its size can say.
    pub fn put_answer(message: &Message, typed: bool, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        put_inner(message, typed, 2, out)
    }

    /// Reads the message that an answer carries.
    ///
    /// # Errors
    /// When the bytes end too early, or the inner message is no message.
    pub fn take_answer(typed: bool, payload: &[u8]) -> Result<Message, DecodeError> {
        let mut reader = Reader::new("a tunnel answer", payload);
        let size = reader.u16("response size")?;
        reader.skip(2)?;
        inner(&mut reader, size, typed)
    }
}

fn put_inner(message: &Message, typed: bool, reserved: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let bytes = message.to_bytes();
    let size = bytes.len() + usize::from(typed);
    let Ok(size) = u16::try_from(size) else {
        let reader = Reader::new("a tunnel", &[]);
        return Err(reader.wrong("size", size as u64, "an inner message has at most 65,535 bytes"));
    };
    out.extend(size.to_le_bytes());
    zeros(out, reserved);
    out.extend(typed.then_some(MessageType::Cci.code()));
    out.extend(bytes);
    Ok(())
}

/// The size counts the type byte, where there is one.
fn inner(reader: &mut Reader<'_>, size: u16, typed: bool) -> Result<Message, DecodeError> {
    let mut inner = Reader::new("a tunnelled message", reader.bytes("inner message", size.into())?);
    if typed {
        let found = inner.u8("MCTP type")?;
        if !matches!(MessageType::from_code(found), MessageType::Cci | MessageType::FmApi) {
            return Err(inner.wrong(
                "MCTP type",
                found.into(),
                "it is no type of CXL; is the dialect right?",
            ));
        }
    }
    Message::take(&mut inner)
}
