//! Whoever knows the future is not beaten by those who do not.

mod common;

use common::{HOUR, run, scenario};
use halcyon_lab::POLICIES;

/// How much less than the best of the others counts as equal.
const EQUAL: f64 = 0.005;

#[test]
fn nobody_beats_the_clairvoyant_by_more_than_half_a_percent() {
    for seed in [1, 2, 3, 11, 12, 13] {
        let scenario = scenario(32, 2 * HOUR, seed);
        let utilities = POLICIES.map(|policy| {
            let result = run(&scenario, policy);
            assert!(result.score.utility <= result.score.bound + 1e-9, "seed {seed}, {policy}");
            (policy, result.score.utility)
        });
        let (_, clairvoyant) = utilities[4];
        for (policy, utility) in utilities {
            assert!(clairvoyant >= utility * (1.0 - EQUAL), "seed {seed}: {policy} in {utilities:?}");
        }
    }
}
