//! Whatever goes wrong together: never two owners, never by force, always an end, never lost.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::field::Field;
use super::harness::{Job, run};
use super::world::World;

fn job() -> impl Strategy<Value = Job> {
    let attach = prop_oneof![3 => Just(true), 2 => Just(false)];
    (0_usize..2, 0_usize..2, attach).prop_map(|(device, guest, attach)| Job { device, guest, attach })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn attachments_keep_their_promises(
        fields in subsequence(Field::ALL.to_vec(), 0..=Field::ALL.len()),
        jobs in vec(job(), 1..16),
        often in prop_oneof![Just(3_u64), Just(15), Just(40), Just(80)],
        seed: u64,
    ) {
        let mut world = World::new(2, 2, &fields, often, seed);
        let result = run(&mut world, &jobs);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn one_failure_alone_keeps_them_too(field in 0..Field::ALL.len(), often in 1_u64..101, seed: u64) {
        let mut world = World::new(1, 1, &[Field::ALL[field]], often, seed);
        let job = |attach| Job { device: 0, guest: 0, attach };
        let result = run(&mut world, &[job(true), job(false), job(true)]);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}
