//! One named part of a text, and the complaints that can be made about it.

use std::ops::Range;

use toml::Spanned;

use super::DescribeError;
use super::text::Text;
use crate::units::{Bandwidth, ByteSize};

/// More memory than one machine has: a size above this is a slip of the pen.
pub(super) const MOST_MEMORY: ByteSize = ByteSize::gib(1 << 20);
/// A faster link than any machine has.
pub(super) const MOST_BANDWIDTH: Bandwidth = Bandwidth::gb_per_s(100_000);

/// A part as complaints name it, such as ``device `nvme3` ``.
pub(super) struct Element<'a> {
    text: &'a Text<'a>,
    label: String,
    span: Range<usize>,
}

impl<'a> Element<'a> {
    /// A part that `span` stands for where a complaint is about nothing narrower.
    pub(super) fn new(text: &'a Text<'a>, label: String, span: Range<usize>) -> Self {
        Self { text, label, span }
    }

    /// The part's name for use in another's complaint.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// A complaint about the part as a whole.
    pub(super) fn fault(&self, problem: &str) -> DescribeError {
        self.fault_at(&self.span, problem)
    }

    /// A complaint about one value.
    pub(super) fn fault_at(&self, span: &Range<usize>, problem: &str) -> DescribeError {
        DescribeError::new(self.text.line(span), &self.label, problem)
    }

    /// Complains about the part unless `condition` holds.
    pub(super) fn ensure(
        &self,
        condition: bool,
        problem: impl FnOnce() -> String,
    ) -> Result<(), DescribeError> {
        if condition { Ok(()) } else { Err(self.fault(&problem())) }
    }

    /// Complains about a value unless `condition` holds.
    pub(super) fn ensure_at<T>(
        &self,
        value: &Spanned<T>,
        condition: bool,
        problem: impl FnOnce() -> String,
    ) -> Result<(), DescribeError> {
        if condition { Ok(()) } else { Err(self.fault_at(&value.span(), &problem())) }
    }

    /// A count within a range.
    pub(super) fn count(
        &self,
        what: &str,
        value: &Spanned<u32>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, DescribeError> {
        let count = *value.get_ref();
        self.ensure_at(value, range.contains(&count), || {
            format!("{what} is {count}; it must be from {} to {}", range.start(), range.end())
        })?;
        Ok(count)
    }

    /// An amount of memory that is there at all and that a machine can have.
    pub(super) fn size(&self, what: &str, value: &Spanned<ByteSize>) -> Result<ByteSize, DescribeError> {
        let size = *value.get_ref();
        self.ensure_at(value, !size.is_zero(), || format!("{what} is zero; give what is really there"))?;
        self.ensure_at(value, size <= MOST_MEMORY, || format!("{what} is {size}; at most {MOST_MEMORY}"))?;
        Ok(size)
    }

    /// A rate above zero that a machine can have.
    pub(super) fn rate(&self, what: &str, value: &Spanned<Bandwidth>) -> Result<Bandwidth, DescribeError> {
        let rate = *value.get_ref();
        self.ensure_at(value, !rate.is_zero(), || format!("{what} is zero; give what it carries"))?;
        self.ensure_at(value, rate <= MOST_BANDWIDTH, || {
            format!("{what} is {rate}; at most {MOST_BANDWIDTH}")
        })?;
        Ok(rate)
    }
}
