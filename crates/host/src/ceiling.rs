//! Ceilings of what moves to and from a device, as limits that know no zero: to a kernel and to QEMU zero
//! is no limit at all.

use halcyon_model::{Bandwidth, Grant};

/// The limit that stands for a ceiling on a device that moves `most`; none where it takes nothing away.
/// A ceiling of zero is the least that can be said, a byte a second.
pub(crate) fn limit(ceiling: Bandwidth, most: Bandwidth) -> Option<u64> {
    (ceiling < most).then(|| ceiling.get().max(1))
}

/// The grant that a limit stands for; the one believed if that stands for the same.
pub(crate) fn grant(
    believed: Grant<Bandwidth>,
    limit_found: Option<u64>,
    most: Bandwidth,
) -> Grant<Bandwidth> {
    if limit(believed.ceiling, most) == limit_found {
        return believed;
    }
    let ceiling = match limit_found {
        None => most,
        Some(1) => Bandwidth::ZERO,
        Some(bytes) => Bandwidth::new(bytes).min(most),
    };
    Grant { share: believed.share.min(ceiling), ceiling }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_was_believed(
            ceiling in prop_oneof![0..4_u64, any::<u64>()], most in prop_oneof![0..4_u64, any::<u64>()], other in any::<u64>(),
        ) {
            let [ceiling, most, other] = [ceiling, most, other].map(Bandwidth::new);
            let found = limit(ceiling, most);
            prop_assert!(found != Some(0), "zero is no limit");
            let believed = Grant { share: Bandwidth::ZERO, ceiling: other };
            let read = grant(believed, found, most);
            prop_assert_eq!(limit(read.ceiling, most), found);
            let off = read.ceiling.get().abs_diff(ceiling.get().min(most.get()));
            prop_assert!(off <= 1 || limit(other, most) == found, "{:?} was read as {:?}", ceiling, read);
            prop_assert_eq!(grant(Grant { share: ceiling, ceiling }, found, most).ceiling, ceiling);
        }
    }
}
