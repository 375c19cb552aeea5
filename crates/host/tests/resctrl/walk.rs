//! Random steps with random faults: after each, what is read is what the kernel holds.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, Driver, Progress};
use halcyon_host::resctrl::{Throttle, class_group};
use halcyon_model::{Assignment, Bandwidth, CacheMask, ClassId, SocketId, Step, VmId};
use proptest::prelude::*;

use crate::fixture::{create, gb, host, upto};
use crate::kernel::{Fault, Kernel, Shape};

#[derive(Debug, Clone)]
enum Event {
    Create { class: u32, ways: u32 },
    Remove { class: u32 },
    Mask { class: u32, socket: u32, ways: u32 },
    Join { vm: u32, class: u32 },
    Limit { vm: u32, gb: u64 },
    Place { vm: u32, socket: u32 },
    Spawn { vm: u32, elsewhere: bool },
    Kill { vm: u32 },
    Meddle { class: u32, domain: u32, percent: u32 },
    Stranger { name: u32 },
    Pass { seconds: u64 },
}

/// Most often a run of ways that the kernel takes.
fn ways() -> impl Strategy<Value = u32> {
    let run = (0..15_u32, 1..16_u32).prop_map(|(start, length)| ((1 << length) - 1) << start & 0x7fff);
    prop_oneof![8 => run, 1 => 0..0x9000_u32]
}

fn event() -> impl Strategy<Value = Event> {
    let (class, vm, socket) = (0..5_u32, 0..4_u32, 0..2_u32);
    prop_oneof![
        3 => (class.clone(), ways()).prop_map(|(class, ways)| Event::Create { class, ways }),
        1 => class.clone().prop_map(|class| Event::Remove { class }),
        3 => (class.clone(), socket.clone(), ways())
            .prop_map(|(class, socket, ways)| Event::Mask { class, socket, ways }),
        6 => (vm.clone(), class.clone()).prop_map(|(vm, class)| Event::Join { vm, class }),
        4 => (vm.clone(), 0..120_u64).prop_map(|(vm, gb)| Event::Limit { vm, gb }),
        1 => (vm.clone(), socket).prop_map(|(vm, socket)| Event::Place { vm, socket }),
        2 => (vm.clone(), any::<bool>()).prop_map(|(vm, elsewhere)| Event::Spawn { vm, elsewhere }),
        1 => vm.prop_map(|vm| Event::Kill { vm }),
        1 => (class, 0..2_u32, 1..11_u32)
            .prop_map(|(class, domain, tens)| Event::Meddle { class, domain, percent: 10 * tens }),
        1 => (0..3_u32).prop_map(|name| Event::Stranger { name }),
        2 => (0..3_u64).prop_map(|seconds| Event::Pass { seconds }),
    ]
}

fn faults() -> impl Strategy<Value = Vec<Option<Fault>>> {
    let fault = prop_oneof![
        12 => Just(None), 1 => Just(Some(Fault::Before)), 1 => Just(Some(Fault::After))
    ];
    prop::collection::vec(fault, 0..12)
}

/// The step that an event stands for, from what is believed.
fn step(event: &Event, held: &Assignment) -> Option<Step> {
    Some(match event {
        Event::Create { class, ways } => create(*class, [*ways, *ways]),
        Event::Remove { class } => create(*class, [1, 1]).inverse(),
        Event::Mask { class, socket, ways } => Step::SetMask {
            class: ClassId(*class),
            socket: SocketId(*socket),
            from: CacheMask(1),
            to: CacheMask(*ways),
        },
        Event::Join { vm, class } => {
            Step::SetClass { vm: VmId(*vm), from: held.holding(VmId(*vm))?.class, to: ClassId(*class) }
        }
        Event::Limit { vm, gb } => {
            let holding = held.holding(VmId(*vm))?;
            let from = holding.memory_bandwidth;
            Step::SetMemoryBandwidth { vm: holding.vm, socket: holding.socket, from, to: upto(*gb) }
        }
        Event::Place { vm, socket } => {
            let from = halcyon_model::Placement::from_holding(held.holding(VmId(*vm))?);
            let to = halcyon_model::Placement { socket: SocketId(*socket), ..from };
            Step::Place { vm: VmId(*vm), from, to }
        }
        _ => return None,
    })
}

/// What is held once a step is done, wherever it started from.
fn believe(step: &Step, held: &mut Assignment) {
    let holding = step.vm().map(|vm| held.holdings.iter_mut().find(|it| it.vm == vm).unwrap());
    match (step, holding) {
        (Step::CreateClass { class, masks }, _) => held.classes[class.index()] = Some(masks.clone()),
        (Step::RemoveClass { class, .. }, _) => held.classes[class.index()] = None,
        (Step::SetMask { class, socket, to, .. }, _) => {
            held.classes[class.index()].as_mut().unwrap()[socket.index()] = *to;
        }
        (Step::SetClass { to, .. }, Some(holding)) => holding.class = *to,
        (Step::SetMemoryBandwidth { to, .. }, Some(holding)) => holding.memory_bandwidth = *to,
        (Step::Place { to, .. }, Some(holding)) => {
            (holding.socket, holding.memory_bandwidth) = (to.socket, to.memory_bandwidth);
        }
        _ => unreachable!("no step of this driver: {step}"),
    }
}

fn happen(event: &Event, kernel: &Kernel, thread: u32) {
    match event {
        Event::Spawn { vm, elsewhere } => {
            let mut group = String::new();
            if !elsewhere {
                let state = kernel.state();
                let first = state.vms[&VmId(*vm)].iter().find_map(|thread| state.tasks.get(thread));
                group = first.map(|at| at.0.clone()).unwrap_or_default();
            }
            kernel.spawn(*vm, thread, &group);
        }
        Event::Kill { vm } => {
            let last = kernel.state().vms[&VmId(*vm)].last().copied();
            last.into_iter().for_each(|thread| kernel.kill(thread));
        }
        Event::Meddle { class, domain, percent } => {
            let group = class_group(ClassId(*class));
            if let Some(group) = kernel.state().groups.get_mut(&group) {
                group.lines.get_mut("MB").unwrap().insert(2 * domain, *percent);
            }
        }
        Event::Stranger { name } => {
            kernel.state().faults.clear();
            let _ = halcyon_host::resctrl::Files::make(kernel, &format!("stranger-{name}"));
        }
        Event::Pass { seconds } => kernel.pass(Duration::from_secs(*seconds)),
        _ => {}
    }
}

/// What was read is what the kernel holds: masks, who is where, and what each group lets through.
fn agree(kernel: &Kernel, held: &Assignment, throttle: Throttle) {
    let (groups, tasks) = kernel.truth();
    for (index, masks) in held.classes.iter().enumerate() {
        let lines = groups.get(&class_group(ClassId::at(index)));
        let there = lines.map(|lines| lines["L3"].values().map(|mask| CacheMask(*mask)).collect::<Vec<_>>());
        assert_eq!(masks, &there, "masks of class {index}");
    }
    let mut sums: BTreeMap<(ClassId, SocketId), Bandwidth> = BTreeMap::new();
    for holding in &held.holdings {
        let group = class_group(holding.class);
        for thread in &kernel.state().vms[&holding.vm] {
            let at = tasks.get(thread);
            assert!(at.is_none_or(|at| *at == group), "thread {thread} of {} is in {at:?}", holding.vm);
        }
        *sums.entry((holding.class, holding.socket)).or_default() += holding.memory_bandwidth.ceiling;
    }
    for ((class, socket), sum) in sums {
        let there = groups[&class_group(class)]["MB"][&(2 * socket.0)];
        assert_eq!(throttle.value(sum, gb(100)), there, "{class} on {socket} with {sum}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_is_read_is_what_the_kernel_holds(
        events in prop::collection::vec((event(), faults()), 1..40), renames in any::<bool>(),
    ) {
        let (kernel, mut driver, mut held) = host(Shape { closids: 5, rmids: 9, renames, ..Shape::intel() });
        let throttle = driver.tree().info().throttle.unwrap();
        let mut tickets = Vec::new();
        for (turn, (event, faults)) in events.into_iter().enumerate() {
            happen(&event, &kernel, 1000 + u32::try_from(turn).unwrap());
            if let Some(step) = step(&event, &held) {
                let before = kernel.truth();
                kernel.state().faults = faults.into();
                match driver.begin(&step) {
                    Ok(Progress::Done) => {
                        believe(&step, &mut held);
                        let wanted = held.clone();
                        kernel.state().faults.clear();
                        driver.read(&mut held).unwrap();
                        prop_assert_eq!(&held, &wanted, "`{}` is done", step);
                    }
                    Ok(Progress::UnderWay(ticket)) => tickets.push(ticket),
                    Ok(Progress::Refused { .. }) | Err(_) => {
                        prop_assert_eq!(kernel.truth(), before, "`{}` was not made", step);
                    }
                    Ok(Progress::Failed { .. }) => {}
                }
                kernel.state().faults.clear();
            }
            tickets.retain(|ticket| matches!(driver.poll(*ticket), Progress::UnderWay(_)));
            driver.read(&mut held).unwrap();
            agree(&kernel, &held, throttle);
            let again = held.clone();
            driver.read(&mut held).unwrap();
            prop_assert_eq!(&held, &again, "reading twice gives the same");
        }
    }
}
