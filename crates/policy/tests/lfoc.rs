//! LFOC: streaming programs are confined, sensitive ones are kept apart, light ones fill the gaps.

mod support;

use halcyon_model::profile::Application;
use halcyon_model::{ByteSize, Families, Family};
use halcyon_policy::Lfoc;
use proptest::prelude::*;
use support::{Bench, hold_out, host, program, random, vm, vm_with};

fn programs() -> [Application; 4] {
    [
        program("sensitive", 0.5, 30.0, 8.0, 3.0),
        program("tender", 0.5, 15.0, 4.0, 2.0),
        program("stream", 30.0, 30.2, 1.0, 1.0),
        program("light", 0.1, 0.2, 1.0, 1.0),
    ]
}

fn bench(names: &[&str]) -> Bench {
    let vms = names.iter().zip(0..).map(|(name, id)| vm_with(id, name));
    Bench::new(host(1), vms.collect()).with_programs(programs())
}

fn busy(_: usize) -> (f64, ByteSize) {
    (1.5, ByteSize::gib(1))
}

fn settle(bench: &mut Bench) {
    let mut policy = Lfoc::default();
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
}

fn of<'a>(names: &'a [&'a str], name: &'a str) -> impl Iterator<Item = usize> + 'a {
    (0..names.len()).filter(move |position| names[*position] == name)
}

#[test]
fn streaming_programs_share_one_way() {
    let names = ["stream", "sensitive", "stream", "stream", "tender"];
    let mut bench = bench(&names);
    settle(&mut bench);
    bench.assert_partitioned(0);
    let way = bench.mask(0);
    assert_eq!(way.ways(), 1);
    assert!(of(&names, "stream").all(|position| bench.mask(position) == way));
    let (sensitive, tender) = (bench.mask(1), bench.mask(4));
    assert!(sensitive.ways() > tender.ways() && sensitive.0 & tender.0 == 0, "{sensitive} {tender}");
}

#[test]
fn many_streaming_programs_share_two_ways_and_never_more() {
    for (streaming, ways) in [(1, 1), (5, 1), (6, 2), (10, 2), (24, 2)] {
        let mut names = vec!["stream"; streaming];
        names.extend(["sensitive", "tender"]);
        let mut bench = bench(&names);
        settle(&mut bench);
        bench.assert_partitioned(0);
        let confined = of(&names, "stream").fold(0, |all, position| all | bench.mask(position).0);
        assert_eq!(confined.count_ones(), ways, "{streaming} streaming programs");
    }
}

#[test]
fn light_programs_fill_what_streaming_ones_leave_and_then_join_the_sensitive() {
    // One streaming program leaves four places, and three light ones take one of them.
    let mut names = vec!["stream", "sensitive", "tender"];
    names.extend(["light"; 14]);
    let mut bench = bench(&names);
    settle(&mut bench);
    bench.assert_partitioned(0);
    let class = |position: usize| bench.snapshot.assignment.holdings[position].class;
    let beside = of(&names, "light").filter(|position| class(*position) == class(0)).count();
    assert_eq!(beside, 12);
    assert_ne!(class(0), class(1));
    let others: Vec<_> = of(&names, "light").filter(|position| class(*position) != class(0)).collect();
    assert!(others.iter().all(|position| [class(1), class(2)].contains(&class(*position))));
}

#[test]
fn without_sensitive_programs_all_share_the_whole_cache() {
    let mut bench = bench(&["stream", "light", "stream", "light"]);
    settle(&mut bench);
    assert!((0..4).all(|position| bench.mask(position).ways() == 16));
    // The same where one was sensitive and goes to sleep.
    let mut bench = self::bench(&["sensitive", "stream", "tender"]);
    let mut policy = Lfoc::default();
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
    assert_eq!(bench.mask(1).ways(), 1);
}

#[test]
fn the_most_slowed_gains() {
    let names = ["sensitive", "stream", "stream", "stream", "tender", "light"];
    let slowdown = |bench: &Bench, position: usize, bytes: f64| {
        let name = bench.vms[position].application.as_deref().expect("it has one");
        1.0 / bench.profiles.get(name).expect("it is known").response.cache.effect(bytes).speed
    };
    let mut bench = bench(&names);
    settle(&mut bench);
    let bytes = |position: usize| f64::from(bench.mask(position).ways()) * ByteSize::mib(2).as_f64();
    let even = ByteSize::mib(32).as_f64() / 6.0;
    assert!(slowdown(&bench, 0, even) > 1.5, "shared evenly it is slow");
    assert!(slowdown(&bench, 0, bytes(0)) < 1.3 && slowdown(&bench, 4, bytes(4)) < 1.3);
}

#[test]
fn a_program_that_nobody_measured_is_judged_by_its_traffic() {
    let vms = vec![vm_with(0, "sensitive"), vm_with(1, "tender"), vm(2), vm(3)];
    let mut bench = Bench::new(host(1), vms).with_programs(programs());
    bench.traffic = 3000;
    let mut policy = Lfoc::default();
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
    assert_eq!((bench.mask(2).ways(), bench.mask(3).ways()), (1, 1), "they stream");

    let vms = vec![vm_with(0, "sensitive"), vm_with(1, "tender"), vm(2), vm_with(3, "stream")];
    let mut bench = Bench::new(host(1), vms).with_programs(programs());
    let mut policy = Lfoc::default();
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
    let class = |position: usize| bench.snapshot.assignment.holdings[position].class;
    assert_eq!(class(2), class(3), "it is light, and there is room beside the streaming one");
}

#[test]
fn it_rests_on_steady_use_and_waits_while_frozen() {
    let mut bench = bench(&["sensitive", "stream", "tender", "light", "stream"]);
    let mut policy = Lfoc::default();
    bench.frozen = Families::NONE.with(Family::Cache);
    (0..10).for_each(|_| bench.tick(&mut policy, busy));
    assert_eq!(bench.mask(1).ways(), 16);
    bench.frozen = Families::NONE;
    (0..10).for_each(|_| bench.tick(&mut policy, busy));
    let rested = bench.snapshot.assignment.clone();
    assert_eq!(bench.mask(1).ways(), 1);
    (0..200).for_each(|_| bench.tick(&mut policy, busy));
    assert_eq!(bench.snapshot.assignment, rested);
}

#[test]
fn when_the_sensitive_leave_the_others_are_let_go() {
    let mut bench = bench(&["stream", "light", "tender", "stream"]);
    let mut policy = Lfoc::default();
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
    assert!(bench.mask(0).ways() == 1);
    bench.remove(2);
    (0..20).for_each(|_| bench.tick(&mut policy, busy));
    assert!((0..3).all(|position| bench.mask(position).ways() == 16));
}

proptest! {
    #![proptest_config(random::config(64))]
    #[test]
    fn any_host_stays_feasible(mut tape in random::tape(1500)) {
        hold_out(&mut tape, &mut Lfoc::default())?;
    }
}
