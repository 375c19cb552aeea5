//! Lines and messages of the protocol, as they come from a peer that nobody trusts.

use serde_json::{Map, Value};

/// The longest line that is read, in bytes. QEMU's longest replies (`query-qmp-schema`) have about 250 KiB.
const LONGEST: usize = 4 << 20;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    looked_at: usize,
}

/// Why what came is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A line without an end.
    #[error("a line has more than {LONGEST} bytes")]
    TooLong,
    /// Not JSON, or nested too deep.
    #[error("a line is not JSON: {why}")]
    NotJson {
        /// What the parser said.
        why: String,
    },
    /// JSON, and nothing that the protocol knows.
    #[error("a message is neither a greeting, a reply nor an event: {what}")]
    Unknown {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What QEMU answered a command that it did not carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{desc} ({class})")]
pub struct CommandError {
    /// `GenericError`, `DeviceNotFound`, `CommandNotFound`, …
    pub class: String,
    /// What is wrong, in QEMU's words.
    pub desc: String,
}

/// Something that happened in a guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name: `DEVICE_DELETED`, `BALLOON_CHANGE`, …
    pub name: String,
    /// What belongs to it.
    pub data: Map<String, Value>,
}

/// One message from QEMU.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first one: a server that waits for capabilities to be negotiated.
    Greeting,
    /// The answer to a command.
    Reply {
        /// The number that the command had; none when QEMU could not read the command.
        id: Option<u64>,
        /// What it gave, or why not.
        result: Result<Value, CommandError>,
    },
    /// Something happened.
    Event(Event),
}

impl Lines {
    /// Takes what came.
    ///
    /// # Errors
    /// When there is no end of a line in sight.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() - self.looked_at.min(self.bytes.len()) > LONGEST
            && !self.bytes[self.looked_at..].contains(&b'\n')
        {
            return Err(MessageError::TooLong);
        }
        Ok(())
    }

    /// The next message, if a whole line is there. Empty lines are passed over.
    pub fn next_message(&mut self) -> Option<Result<Message, MessageError>> {
        loop {
            let rest = &self.bytes[self.looked_at..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.bytes.drain(..self.looked_at);
                self.looked_at = 0;
                return None;
            };
            let line = &rest[..end];
            let parsed = (!line.trim_ascii().is_empty()).then(|| parse(line));
            self.looked_at += end + 1;
            if parsed.is_some() {
                return parsed;
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Message, MessageError> {
    let unknown = |what| MessageError::Unknown { what };
    let value: Value =
        serde_json::from_slice(line).map_err(|error| MessageError::NotJson { why: error.to_string() })?;
    let Value::Object(mut fields) = value else { return Err(unknown("it is no object")) };
    let id = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(id) => Some(id.as_u64().ok_or_else(|| unknown("its id is no number"))?),
    };
    if let Some(given) = fields.remove("return") {
        return Ok(Message::Reply { id, result: Ok(given) });
    }
    if let Some(error) = fields.remove("error") {
        let text = |name| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let class = text("class").ok_or_else(|| unknown("its error has no class"))?;
        let desc = text("desc").ok_or_else(|| unknown("its error has no description"))?;
        return Ok(Message::Reply { id, result: Err(CommandError { class, desc }) });
    }
    if let Some(Value::String(name)) = fields.remove("event") {
        let data = match fields.remove("data") {
            None => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err(unknown("the data of its event is no object")),
        };
        return Ok(Message::Event(Event { name, data }));
    }
    if fields.get("QMP").is_some_and(Value::is_object) {
        return Ok(Message::Greeting);
    }
    Err(unknown("it has none of their fields"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], chunk: usize) -> Vec<Result<Message, MessageError>> {
        let mut lines = Lines::default();
        let mut messages = Vec::new();
        for part in bytes.chunks(chunk.max(1)) {
            lines.feed(part).expect("lines are short");
            messages.extend(std::iter::from_fn(|| lines.next_message()));
        }
        messages
    }

    #[test]
    fn what_qemu_says_is_read_however_it_is_cut() {
        let said = concat!(
            r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#,
            "\r\n\r\n",
            r#"{"return": {}, "id": 1}"#,
            "\r\n",
            r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "DEVICE_DELETED", "data": {"device": "nv0", "path": "/machine/peripheral/nv0"}}"#,
            "\n",
            r#"{"id": 2, "error": {"class": "DeviceNotFound", "desc": "Device 'zz' not found"}}"#,
            "\n"
        );
        let whole = all(said.as_bytes(), said.len());
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0], Ok(Message::Greeting));
        let Ok(Message::Event(event)) = &whole[2] else { panic!("{:?}", whole[2]) };
        assert_eq!((event.name.as_str(), &event.data["device"]), ("DEVICE_DELETED", &Value::from("nv0")));
        let Ok(Message::Reply { id: Some(2), result: Err(error) }) = &whole[3] else {
            panic!("{:?}", whole[3])
        };
        assert_eq!(error.to_string(), "Device 'zz' not found (DeviceNotFound)");
        for chunk in 1..40 {
            assert_eq!(all(said.as_bytes(), chunk), whole);
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        let nested = "[".repeat(5000);
        for text in ["{", "7", "[]", "{}", "nonsense", r#"{"error":{}}"#, r#"{"return":1,"id":"x"}"#, &nested]
        {
            let read = all(format!("{text}\n").as_bytes(), 7);
            assert!(matches!(read.as_slice(), [Err(_)]), "{text}: {read:?}");
        }
        let mut lines = Lines::default();
        let endless = vec![b'x'; LONGEST / 2];
        assert_eq!(lines.feed(&endless), Ok(()));
        assert_eq!(lines.feed(&endless), Ok(()));
        assert_eq!(lines.feed(&endless), Err(MessageError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400), chunk in 1_usize..50) {
            let mut lines = Lines::default();
            for part in bytes.chunks(chunk) {
                let _ = lines.feed(part);
                while lines.next_message().is_some() {}
            }
        }
    }
}
