//! Weighted max-min fairness between bounds, the rule by which schedulers and links divide themselves.

/// What one party asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// How much it counts; above zero.
    pub weight: f64,
    /// What it gets in any case.
    pub least: f64,
    /// What it gets at most; at least `least`.
    pub most: f64,
}

/// Divides `capacity` so that each party gets `level × weight`, moved into its bounds, for the one level
/// at which all is given out or everybody has the most. Writes the parts to `parts`, in order.
///
/// When the least amounts alone exceed the capacity, everybody gets the least. Freezes the parties on
/// the side that is further off in each round, as CSS flexible boxes do ("Resolving Flexible Lengths");
/// a few rounds of O(n) suffice in practice, n rounds at worst.
pub fn divide(capacity: f64, claims: &[Claim], parts: &mut Vec<f64>) {
    parts.clear();
    parts.extend(claims.iter().map(|claim| claim.most));
    let (least, most) =
        claims.iter().fold((0.0, 0.0), |sum, claim| (sum.0 + claim.least, sum.1 + claim.most));
    if most <= capacity {
        return;
    }
    if least >= capacity {
        parts.iter_mut().zip(claims).for_each(|(part, claim)| *part = claim.least);
        return;
    }
    let mut room = capacity;
    let mut weight: f64 = claims.iter().map(|claim| claim.weight).sum();
    let mut open: Vec<u32> = (0..).take(claims.len()).collect();
    while !open.is_empty() && weight > 0.0 {
        let level = (room / weight).max(0.0);
        let mut off = 0.0;
        for index in &open {
            let claim = claims[*index as usize];
            off += (level * claim.weight).clamp(claim.least, claim.most) - level * claim.weight;
        }
        let before = open.len();
        open.retain(|index| {
            let claim = claims[*index as usize];
            let wanted = level * claim.weight;
            let part = if off > 0.0 && wanted < claim.least {
                claim.least
            } else if off < 0.0 && wanted > claim.most {
                claim.most
            } else {
                parts[*index as usize] = wanted.clamp(claim.least, claim.most);
                return true;
            };
            parts[*index as usize] = part;
            room -= part;
            weight -= claim.weight;
            false
        });
        if open.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(capacity: f64, claims: &[Claim]) -> Vec<f64> {
        let mut parts = Vec::new();
        divide(capacity, claims, &mut parts);
        parts
    }

    #[test]
    fn what_one_leaves_goes_to_the_others_by_weight() {
        let claim = |weight, most| Claim { weight, least: 0.0, most };
        let claims = [claim(1.0, 10.0), claim(1.0, 1.0), claim(2.0, 100.0)];
        assert_eq!(parts(10.0, &claims), [3.0, 1.0, 6.0]);
        assert_eq!(parts(1000.0, &claims), [10.0, 1.0, 100.0]);
        assert_eq!(parts(0.0, &claims), [0.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn all_is_given_out_within_bounds_and_at_one_level(
            capacity in 0.0..100.0_f64,
            raw in prop::collection::vec((0.1..10.0_f64, 0.0..5.0_f64, 0.0..20.0_f64), 1..20),
        ) {
            let claims: Vec<_> = raw
                .into_iter()
                .map(|(weight, least, more)| Claim { weight, least, most: least + more })
                .collect();
            let parts = parts(capacity, &claims);
            let least: f64 = claims.iter().map(|claim| claim.least).sum();
            let most: f64 = claims.iter().map(|claim| claim.most).sum();
            let given: f64 = parts.iter().sum();
            prop_assert!((given - capacity.clamp(least, most)).abs() < 1e-6, "{given} of {capacity}");
            let level = |index: usize| parts[index] / claims[index].weight;
            for (index, claim) in claims.iter().enumerate() {
                prop_assert!(parts[index] >= claim.least - 1e-9 && parts[index] <= claim.most + 1e-9);
                for other in 0..claims.len() {
                    // Whoever has more, by weight, has it only as its least; or the other has its most.
                    let unfair = level(index) > level(other) + 1e-6;
                    let excused = parts[index] <= claim.least + 1e-9 || parts[other] >= claims[other].most - 1e-9;
                    prop_assert!(!unfair || excused);
                }
            }
        }
    }
}
