//! Reading and writing little-endian fields, with errors that name the field.

/// The longest payload that is read or written: the largest message size that a peer can announce is
/// 2²⁰ bytes (Identify, maximum supported message size).
pub const LONGEST_PAYLOAD: usize = 1 << 20;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("{what} ends inside `{field}`: {needed} bytes are needed and there are {found}")]
    Short {
        /// The message or payload.
        what: &'static str,
        /// The field that is not whole.
        field: &'static str,
        /// Bytes from the start to the end of the field.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// A field has a value that cannot be.
    #[error("`{field}` of {what} is {found}: {why}")]
    Value {
        /// The message or payload.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A part of a message with a fixed layout.
pub trait Payload: Sized {
    /// Appends the bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads the value from the start of what is left. More bytes than needed are no error.
    ///
    /// # Errors
    /// When the bytes end too early, or a field has a value that cannot be.
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The bytes alone.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }
}

/// No payload at all.
impl Payload for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(())
    }
}

/// Takes fields off the front of bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which errors call `what`.
    #[must_use]
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let needed = self.at.saturating_add(count);
        let Some(taken) = self.bytes.get(self.at..needed) else {
            return Err(DecodeError::Short { what: self.what, field, needed, found: self.bytes.len() });
        };
        self.at = needed;
        Ok(taken)
    }

    /// Passes over reserved bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        self.bytes("reserved bytes", count).map(|_| ())
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(field, N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A list of `count` equal parts of `size` bytes each. Nothing is reserved for parts that the bytes
    /// cannot hold.
    ///
    /// # Errors
    /// When there are fewer bytes, or a part is wrong.
    pub fn list<T: Payload>(
        &mut self,
        field: &'static str,
        count: usize,
        size: usize,
    ) -> Result<Vec<T>, DecodeError> {
        let bytes = self.bytes(field, count.saturating_mul(size))?;
        bytes.chunks_exact(size).map(|part| T::take(&mut Reader::new(field, part))).collect()
    }

    /// The error that a field's value cannot be.
    #[must_use]
    pub fn wrong(&self, field: &'static str, found: u64, why: &'static str) -> DecodeError {
        DecodeError::Value { what: self.what, field, found, why }
    }
}

/// The number of parts as the one byte that announces them; what does not fit is cut off by the caller.
pub(crate) fn count(parts: usize) -> u8 {
    u8::try_from(parts).unwrap_or(u8::MAX)
}

/// Appends `count` zero bytes.
pub(crate) fn zeros(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0);
}

/// Codes of one field: the known ones by name, any other by number.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident($raw:ty) { $($variant:ident = $code:literal: $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $text] $variant,)+
            /// A code that has no name here.
            Other($raw),
        }

        impl $name {
            /// Every code that has a name.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What a number means.
            #[must_use]
            pub const fn from_code(code: $raw) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other),
                }
            }

            /// The number that stands for it.
            #[must_use]
            pub const fn code(self) -> $raw {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(code) => code,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Other(code) => write!(f, "code {code:#x}"),
                }
            }
        }
    };
}
pub(crate) use codes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_end_early_name_the_field() {
        let mut reader = Reader::new("a thing", &[1, 2, 3]);
        assert_eq!(reader.u16("first"), Ok(0x0201));
        let error = reader.u32("second").unwrap_err();
        assert_eq!(error.to_string(), "a thing ends inside `second`: 6 bytes are needed and there are 3");
        assert_eq!(reader.u8("third"), Ok(3), "what could not be read is still there");
    }
}
