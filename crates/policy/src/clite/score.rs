//! How good a division is: 0 to ½ while an objective is missed, ½ to 1 where none is.

use std::collections::BTreeMap;

use halcyon_model::VmId;

/// A VM that uses less than this, in thousandths of a core, has no throughput to speak of.
const IDLE: f64 = 10.0;
/// A ratio is never worse than this, so that one VM does not hide all others.
const LEAST: f64 = 1e-3;

/// What was seen of one VM under a division.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Seen {
    /// Response time as a share of the objective, of latency-critical VMs.
    pub(super) response: Option<f64>,
    /// CPU time used and not stalled, of the others, in thousandths of a core.
    pub(super) progress: Option<f64>,
    /// Their memory traffic, where a cap holds it back, in bytes per second.
    pub(super) capped: Option<f64>,
    /// Their memory traffic.
    pub(super) traffic: Option<f64>,
}

/// What VMs do when their group has all that it can have.
pub(super) type Base = BTreeMap<VmId, Seen>;

impl Seen {
    /// How near the VM is to its objective, or to the best that it was seen to do: at most 1.
    pub(super) fn ratio(&self, base: Option<&Seen>) -> Option<f64> {
        if let Some(response) = self.response {
            return Some((1.0 / response.max(LEAST)).clamp(LEAST, 1.0));
        }
        let (now, best) = (self.progress?, base?.progress?);
        let slowed = self.capped.zip(base?.traffic).map_or(1.0, |(moved, most)| moved / most.max(1.0));
        (best >= IDLE).then(|| (now / best).min(slowed).clamp(LEAST, 1.0))
    }
}

/// Nothing where nothing is known of any VM.
pub(super) fn score(seen: &[(VmId, Seen)], base: &Base) -> Option<f64> {
    let critical = || seen.iter().filter(|(_, seen)| seen.response.is_some());
    let met = mean(critical().filter_map(|(_, seen)| seen.ratio(None)));
    if let Some(met) = met.filter(|_| critical().any(|(_, seen)| seen.response > Some(1.0))) {
        return Some(0.5 * met);
    }
    let others = seen.iter().filter(|(_, seen)| seen.response.is_none());
    let throughput = mean(others.filter_map(|(vm, seen)| seen.ratio(base.get(vm))));
    // Without others, latency-critical VMs are to be as fast as they can.
    let faster = |(vm, seen): &(VmId, Seen)| {
        let (now, best) = (seen.response?, base.get(vm)?.response?);
        Some((best.max(LEAST) / now.max(LEAST)).clamp(LEAST, 1.0))
    };
    let rest = throughput.or_else(|| mean(critical().filter_map(faster)));
    rest.map(|rest| 0.5 + 0.5 * rest).or(met.map(|_| 0.5))
}

/// The geometric mean; nothing of nothing.
pub(super) fn mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = ratios.fold((0.0, 0.0), |(sum, count), ratio| (sum + libm::log(ratio), count + 1.0));
    (count > 0.0).then(|| libm::exp(sum / count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn critical(response: f64) -> Seen {
        Seen { response: Some(response), ..Seen::default() }
    }

    fn batch(progress: f64) -> Seen {
        Seen { progress: Some(progress), ..Seen::default() }
    }

    #[test]
    fn a_missed_objective_is_worth_less_than_any_throughput() {
        let base = Base::from([(VmId(2), batch(1000.0))]);
        let of = |one, other, third| {
            score(&[(VmId(0), critical(one)), (VmId(1), critical(other)), (VmId(2), batch(third))], &base)
        };
        assert_eq!(of(0.5, 4.0, 1000.0), Some(0.25), "half of the mean of 1 and a quarter");
        assert_eq!(of(0.5, 0.9, 500.0), Some(0.75));
        assert_eq!(of(0.5, 0.9, 5000.0), Some(1.0));
    }

    #[test]
    fn without_others_being_fast_is_good_and_without_anything_nothing_is_known() {
        let base = Base::from([(VmId(0), critical(0.2))]);
        assert_eq!(score(&[(VmId(0), critical(0.4))], &base), Some(0.75));
        assert_eq!(score(&[(VmId(0), Seen::default())], &base), None);
        assert_eq!(score(&[], &base), None);
    }

    #[test]
    fn whoever_is_at_a_cap_is_judged_by_what_it_moves() {
        let base = Base::from([(VmId(0), Seen { traffic: Some(10.0e9), ..batch(1000.0) })]);
        let capped = Seen { capped: Some(5.0e9), ..batch(1000.0) };
        let score = score(&[(VmId(0), capped)], &base).unwrap();
        assert!((score - 0.75).abs() < 1e-12, "{score}");
    }
}
