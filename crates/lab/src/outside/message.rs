//! Between lines and messages.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Flaw, OutsideError, printable};
use super::peer::{Line, Peer};
use super::wire::SCHEMA;

/// What every message has.
#[derive(Deserialize)]
struct Envelope {
    schema: Option<u32>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The type of a message of this version.
pub(super) fn kind(line: &Line) -> Result<String, Flaw> {
    if !line.text.trim_start().starts_with('{') {
        return Err(Flaw::new("", "is not a JSON object; write one message to a line, and nothing else"));
    }
    let Envelope { schema, kind } = read(line)?;
    match schema {
        Some(SCHEMA) => {}
        Some(other) => {
            let problem = format!("is {other}; this Halcyon speaks schema {SCHEMA}");
            return Err(Flaw::new("schema", problem));
        }
        None => return Err(Flaw::new("schema", format!("is not there; write \"schema\": {SCHEMA}"))),
    }
    kind.ok_or_else(|| Flaw::new("type", "is not there; say what kind of message this is"))
}

/// The whole message.
pub(super) fn read<T: DeserializeOwned>(line: &Line) -> Result<T, Flaw> {
    let mut text = serde_json::Deserializer::from_str(&line.text);
    let read = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        Flaw::new(field, plain(error.inner()))
    })?;
    text.end().map_err(|error| Flaw::new("", plain(&error)))?;
    Ok(read)
}

/// Asks for a message of one of the `expected` types; the type comes with the line.
pub(super) fn receive(peer: &mut Peer, expected: &[&str]) -> Result<(String, Line), OutsideError> {
    let wanted = expected.join(" or ");
    let line = peer.receive(&format!("a message of type {wanted}"))?;
    let kind = kind(&line).map_err(|flaw| peer.flaw(line.number, flaw))?;
    if kind == "error" {
        let failure: super::wire::Failure = read(&line).map_err(|flaw| peer.flaw(line.number, flaw))?;
        let problem = format!("gave up: {}", printable(&failure.message));
        return Err(peer.flaw(line.number, Flaw::new("", problem)));
    }
    if expected.contains(&kind.as_str()) {
        return Ok((kind, line));
    }
    let problem = format!("is `{}` where {wanted} was due", printable(&kind));
    Err(peer.flaw(line.number, Flaw::new("type", problem)))
}

/// Sends a message.
pub(super) fn send<T: Serialize>(peer: &mut Peer, message: &T) -> Result<(), OutsideError> {
    match serde_json::to_vec(message) {
        Ok(line) => peer.send(line),
        Err(error) => Err(peer.flaw(0, Flaw::new("", format!("a message to it cannot be written: {error}")))),
    }
}

/// The parser's words, with what they ask for in a person's.
fn plain(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let (start, wanted) = text.rsplit_once(", expected ").unwrap_or((text, ""));
    let text = match wanted {
        "u8" | "u32" | "u64" => format!("{start}, expected a whole number from 0 up"),
        "f64" => format!("{start}, expected a number"),
        _ if text.starts_with("expected value") => {
            "is not JSON (NaN and Infinity are not either); write one JSON object to a line".into()
        }
        _ if text.starts_with("number out of range") => "has a number that is out of range".into(),
        _ => text.to_owned(),
    };
    format!("{} (byte {column})", printable(&text))
}
