//! How values stand in a frame: whole numbers as LEB128, the rest made of them. Nothing read is believed.

use std::time::Duration;

/// The longest text, in bytes: that of an application's profile takes some 600.
const MOST_TEXT: u64 = 64 * 1024;
/// The most entries of a list; no part of a host is there more often.
pub(super) const MOST_ENTRIES: u64 = 65_536;

/// What is wrong with bytes whose check sum is right: another program wrote them, or somebody made them up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw(pub(super) String);

impl Flaw {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

pub(super) fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), Flaw> {
    if condition { Ok(()) } else { Err(Flaw(what())) }
}

/// Bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Flaw> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| Flaw::new("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, Flaw> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            ensure(bits << shift >> shift == bits, || "a number has more than 64 bits".into())?;
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Flaw::new("a number has more than 64 bits"))
    }

    /// The length of a list, each of whose entries takes at least one byte.
    pub(super) fn count(&mut self, most: u64) -> Result<usize, Flaw> {
        let count = self.number()?;
        ensure(count <= most.min(self.0.len() as u64), || format!("a list of {count} entries"))?;
        usize::try_from(count).map_err(|_| Flaw::new("a list is too long"))
    }

    pub(super) fn end(self) -> Result<(), Flaw> {
        ensure(self.0.is_empty(), || format!("{} bytes too many", self.0.len()))
    }
}

pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A difference modulo 2⁶⁴, small if it is small in either direction.
pub(super) const fn zigzag(before: u64, after: u64) -> u64 {
    let difference = after.wrapping_sub(before).cast_signed();
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

/// What [`zigzag`] was made of.
pub(super) const fn unzigzag(before: u64, code: u64) -> u64 {
    before.wrapping_add((code >> 1) ^ (code & 1).wrapping_neg())
}

/// A value as it stands in a frame by itself.
pub(super) trait Form: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw>;
}

/// The form of a structure: its fields, one after another.
macro_rules! fields {
    ($($name:ty { $($field:ident),* $(,)? })*) => { $(
        impl Form for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
                Ok(Self { $($field: Form::take(input)?),* })
            }
        }
    )* };
}

/// The form of a choice: a byte that says which, and the fields of that.
macro_rules! choice {
    ($($name:ty { $($tag:literal => $variant:ident { $($field:ident),* }),* $(,)? })*) => { $(
        impl Form for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
                match input.byte()? {
                    $($tag => Ok(Self::$variant { $($field: Form::take(input)?),* }),)*
                    tag => Err(Flaw::new(format!("no {} has the number {tag}", stringify!($name)))),
                }
            }
        }
    )* };
}

/// The form of a number in a type of its own.
macro_rules! number {
    ($($name:ty: $raw:ty, $new:expr, $get:expr;)*) => { $(
        impl Form for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let get: fn(&Self) -> $raw = $get;
                put_number(u64::from(get(self)), out);
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
                let new: fn($raw) -> Option<Self> = $new;
                let raw = <$raw>::try_from(input.number()?).ok();
                raw.and_then(new).ok_or_else(|| Flaw::new(concat!("a ", stringify!($name), " out of range")))
            }
        }
    )* };
}
pub(super) use {choice, fields, number};

number! {
    u8: u8, Some, |raw| *raw;
    u32: u32, Some, |raw| *raw;
    u64: u64, Some, |raw| *raw;
}

impl Form for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(Flaw::new(format!("{byte} is neither yes nor no"))),
        }
    }
}

/// To the bit, whatever it stands for.
impl Form for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let mut bits = [0; 8];
        bits.copy_from_slice(input.bytes(8)?);
        Ok(Self::from_bits(u64::from_le_bytes(bits)))
    }
}

impl Form for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.as_secs(), out);
        put_number(u64::from(self.subsec_nanos()), out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let (seconds, nanos) = (input.number()?, u32::take(input)?);
        ensure(nanos < 1_000_000_000, || format!("{nanos} ns of a second"))?;
        Ok(Self::new(seconds, nanos))
    }
}

impl Form for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let length = input.count(MOST_TEXT)?;
        let text = std::str::from_utf8(input.bytes(length)?);
        text.map(Self::from).map_err(|_| Flaw::new("a text that is not UTF-8"))
    }
}

impl<T: Form> Form for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        bool::take(input)?.then(|| T::take(input)).transpose()
    }
}

impl<T: Form> Form for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        self.iter().for_each(|entry| entry.put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        (0..input.count(MOST_ENTRIES)?).map(|_| T::take(input)).collect()
    }
}

impl<A: Form, B: Form> Form for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_at_both_ends_of_their_range() {
        for number in [0, 1, 127, 128, 16_384, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            let mut input = Input(&out);
            assert_eq!(input.number(), Ok(number));
            assert_eq!(input.end(), Ok(()));
            for before in [0, 7, u64::MAX] {
                assert_eq!(unzigzag(before, zigzag(before, number)), number);
            }
        }
        assert_eq!((zigzag(5, 5), zigzag(5, 4), zigzag(5, 6)), (0, 1, 2));
        assert!(Input(&[0xff; 10]).number().is_err() && Input(&[0x80]).number().is_err());
    }

    #[test]
    fn a_list_is_never_believed_to_be_longer_than_its_bytes() {
        let mut out = Vec::new();
        put_number(60_000, &mut out);
        assert!(Vec::<u64>::take(&mut Input(&out)).is_err());
    }
}
