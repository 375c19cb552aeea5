//! How much better than usual it went after each decision, told from runs that differ in nothing else.
//!
//! All turns of a scenario meet the same demand, noise and failures, so the mean of the other turns says
//! what would have come without what one turn tried (a leave-one-out baseline: Kool, van Hoof and Welling
//! 2019). What a VM gains is set against what all others lose by it.

use std::collections::{BTreeMap, BTreeSet};

use halcyon_model::VmId;

use super::explore::{Episode, PACES, Pace, SPAN};

/// For each sample of a turn and each VM in it, how much better than usual it went, by pace.
pub(super) type Credit = Vec<Vec<[f64; PACES.len()]>>;

/// No decision counts more than so many standard deviations.
const MOST: f64 = 4.0;

/// The credit of each turn of one scenario. `weights` are those of its VMs; `others` is how much what
/// other VMs gain or lose counts against a VM's own.
pub(super) fn credit(turns: &[Episode], weights: &BTreeMap<VmId, f64>, others: f64) -> Vec<Credit> {
    let table = Table::of(turns, weights);
    let empty = |turn: &Episode| turn.vms.iter().map(|vms| vec![[0.0; PACES.len()]; vms.len()]).collect();
    let mut credits: Vec<Credit> = turns.iter().map(empty).collect();
    for (number, pace) in PACES.iter().enumerate() {
        for span in 0..table.spans {
            let gains = table.gains(span, pace);
            for ((turn, credit), gain) in turns.iter().zip(&mut credits).zip(&gains) {
                let (Some(vms), Some(credit)) = (turn.vms.get(span), credit.get_mut(span)) else { continue };
                let all: f64 = gain.vms.iter().sum::<f64>() - gain.charged;
                for (vm, credit) in vms.iter().zip(credit) {
                    let own = table.vms.binary_search(vm).map_or(0.0, |place| gain.vms[place]);
                    credit[number] = own + others * (all - own);
                }
            }
        }
        normalise(&mut credits, number);
    }
    credits
}

/// To a standard deviation of one.
#[allow(clippy::cast_precision_loss)]
fn normalise(credits: &mut [Credit], pace: usize) {
    let all = || credits.iter().flatten().flatten().map(|credit| credit[pace]);
    let count = all().count().max(1) as f64;
    let deviation = libm::sqrt(all().map(|credit| credit * credit).sum::<f64>() / count).max(1e-9);
    for credit in credits.iter_mut().flatten().flatten() {
        credit[pace] = (credit[pace] / deviation).clamp(-MOST, MOST);
    }
}

/// What one turn has more than the others, later spans counting less.
struct Gain {
    /// Of each VM: share of what was asked, times weight.
    vms: Vec<f64>,
    /// What changes cost more, in utility times weight.
    charged: f64,
}

/// What came of all turns of one scenario.
struct Table {
    vms: Vec<VmId>,
    weights: Vec<f64>,
    spans: usize,
    /// What is asked of each VM in a span, whether it is inside or waits at the door: `[span][vm]`.
    asked: Vec<Vec<f64>>,
    /// What of it counted: `[turn][span][vm]`.
    good: Vec<Vec<Vec<f64>>>,
    /// `[turn][span]`.
    charged: Vec<Vec<f64>>,
}

impl Table {
    fn of(turns: &[Episode], weights: &BTreeMap<VmId, f64>) -> Self {
        let outcomes = || turns.iter().flat_map(|turn| &turn.outcomes);
        let vms: BTreeSet<VmId> = outcomes().flat_map(|outcome| outcome.served.keys()).copied().collect();
        let vms: Vec<VmId> = vms.into_iter().collect();
        let spans = turns.iter().map(|turn| turn.outcomes.len()).min().unwrap_or(0);
        let served = |turn: &Episode, span: usize| -> Vec<_> {
            let of = |vm| turn.outcomes[span].served.get(vm).copied().unwrap_or_default();
            vms.iter().map(of).collect()
        };
        let mut asked = vec![vec![0.0_f64; vms.len()]; spans];
        for (span, asked) in asked.iter_mut().enumerate() {
            for turn in turns {
                asked.iter_mut().zip(served(turn, span)).for_each(|(most, one)| *most = most.max(one.asked));
            }
        }
        let good = |turn: &Episode| -> Vec<Vec<f64>> {
            (0..spans).map(|span| served(turn, span).iter().map(|one| one.good).collect()).collect()
        };
        Self {
            weights: vms.iter().map(|vm| weights.get(vm).copied().unwrap_or(1.0)).collect(),
            good: turns.iter().map(good).collect(),
            charged: turns
                .iter()
                .map(|turn| turn.outcomes.iter().map(|outcome| outcome.charged).collect())
                .collect(),
            vms,
            spans,
            asked,
        }
    }

    /// What each turn has more than the mean of the others from a span on.
    #[allow(clippy::cast_precision_loss)]
    fn gains(&self, span: usize, pace: &Pace) -> Vec<Gain> {
        let spans = span..(span + pace.ahead).min(self.spans);
        let discounts =
            || std::iter::successors(Some(1.0), |discount| Some(discount * pace.discount)).zip(spans.clone());
        let sum =
            |of: &dyn Fn(usize) -> f64| discounts().map(|(discount, at)| discount * of(at)).sum::<f64>();
        let seconds = sum(&|_| SPAN.as_secs_f64()).max(1.0);
        let asked: Vec<f64> = (0..self.vms.len()).map(|vm| sum(&|at| self.asked[at][vm])).collect();
        let returns: Vec<Gain> = (0..self.good.len())
            .map(|turn| Gain {
                vms: (0..self.vms.len())
                    .map(|vm| {
                        let good = sum(&|at| self.good[turn][at][vm]);
                        if asked[vm] > 1e-9 { self.weights[vm] * good / asked[vm] } else { 0.0 }
                    })
                    .collect(),
                charged: sum(&|at| self.charged[turn][at]) / seconds,
            })
            .collect();
        let turns = returns.len() as f64;
        // Against the mean of the others: what is above the mean of all, a little stretched.
        let stretch = if turns > 1.0 { turns / (turns - 1.0) } else { 0.0 };
        let above = |own: f64, total: f64| (own - total / turns) * stretch;
        let total = |vm: usize| returns.iter().map(|turn| turn.vms[vm]).sum::<f64>();
        let totals: Vec<f64> = (0..self.vms.len()).map(total).collect();
        let charged: f64 = returns.iter().map(|turn| turn.charged).sum();
        let gain = |turn: &Gain| Gain {
            vms: turn.vms.iter().zip(&totals).map(|(own, total)| above(*own, *total)).collect(),
            charged: above(turn.charged, charged),
        };
        returns.iter().map(gain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::explore::{Outcome, Served};
    use super::*;

    fn episode(good: [[f64; 2]; 3], charged: f64) -> Episode {
        let outcome = |good: &[f64; 2]| Outcome {
            served: (0..)
                .zip(good)
                .map(|(vm, good)| (VmId(vm), Served { asked: 10.0, good: *good }))
                .collect(),
            charged,
        };
        Episode {
            vms: vec![vec![VmId(0), VmId(1)]; 3],
            outcomes: good.iter().map(outcome).collect(),
            ..Episode::default()
        }
    }

    #[test]
    fn who_took_from_another_is_credited_with_the_difference() {
        // In the second turn the first VM has 2 more of 10 in the middle, and the other 6 less.
        let turns = [episode([[5.0, 9.0]; 3], 0.0), episode([[5.0, 9.0], [7.0, 3.0], [5.0, 9.0]], 0.0)];
        let alone = credit(&turns, &BTreeMap::new(), 0.0);
        assert!(alone[1][1][0][0] > 0.0 && alone[1][1][1][0] < 0.0);
        let together = credit(&turns, &BTreeMap::new(), 1.0);
        assert!(together[1][1].iter().all(|credit| credit[0] < 0.0), "{together:?}");
        assert_eq!(together[0][1][0][0], -together[1][1][0][0]);
        assert_eq!(together[1][2][0][0], 0.0, "what was over before is nobody's merit");
    }

    #[test]
    fn weights_and_charges_count() {
        let turns = [episode([[5.0, 9.0]; 3], 0.0), episode([[6.0, 8.0]; 3], 0.0)];
        let heavy = credit(&turns, &BTreeMap::from([(VmId(0), 3.0)]), 1.0);
        assert!(heavy[1][0][0][0] > 0.0);
        let dear = [episode([[5.0, 9.0]; 3], 0.0), episode([[5.0, 9.0]; 3], 4.0)];
        assert!(credit(&dear, &BTreeMap::new(), 1.0)[1][0][0][0] < 0.0);
    }
}
