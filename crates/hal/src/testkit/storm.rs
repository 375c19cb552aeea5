//! Random plans, one after the other, with random faults and with the program dying at random moments.

use std::time::Duration;

use halcyon_model::{Assignment, Families, Family, HostTime, Plan, Step, World, check};

use super::{Fault, Faulty, Subject, TICK, plan, start};
use crate::executor::Executor;
use crate::host::Inventory;
use crate::journal::{Entry, Journal, JournalError, MemoryJournal, StepState, Trouble};

/// What befell the plans of a storm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Plans that were carried out.
    pub plans: u32,
    /// Families that ended as the new plan says.
    pub forward: u32,
    /// Families that ended as before it.
    pub back: u32,
    /// Families of which a guest refused a part, and that ended with just what was done.
    pub in_part: u32,
    /// How often the program died.
    pub deaths: u32,
}

/// A journal whose program dies at one of its records.
struct Dying {
    kept: MemoryJournal,
    left: Option<u32>,
    written: bool,
    dead: bool,
}

impl Journal for Dying {
    fn record(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let dies = self.left == Some(0);
        if !self.dead && (!dies || self.written) {
            self.kept.record(entries)?;
        }
        self.dead |= dies;
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.dead {
            return Err(JournalError { journal: "dead".into(), trouble: Trouble::Unreachable, source: None });
        }
        Ok(())
    }
}

/// A generator of numbers (splitmix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides.max(1)
    }
}

/// Carries out `plans` random plans made of a subject's steps and the ways back from them: the checker is
/// content with every reading, and each family ends in the old plan or the new one, or, where a guest
/// refused, with just what was done.
///
/// # Panics
/// When that does not hold, with the number of the plan.
pub fn storm<S: Subject>(subject: &mut S, plans: u32, seed: u64) -> Weather {
    let mut dice = Dice(seed);
    let mut weather = Weather::default();
    let steps = subject.steps();
    let mut held = start(subject);
    for number in 0..plans {
        let target = random(&mut dice, subject.world(), &steps, &held);
        let Some(plan) = plan(subject.world(), &held, &target) else { continue };
        if plan.changes().is_empty() {
            continue;
        }
        let mut gust = Gust::new(subject, &mut dice, &plan, held.clone());
        gust.blow();
        weather.deaths += gust.deaths;
        held = gust.judge(number, &mut weather);
        weather.plans += 1;
    }
    weather
}

/// What is held, with some of the steps made and some taken back.
fn random(dice: &mut Dice, world: World<'_>, steps: &[Step], held: &Assignment) -> Assignment {
    let mut target = held.clone();
    for step in steps.iter().filter(|_| dice.throw(2) == 0) {
        let mut tried = target.clone();
        let made = tried.apply(step).is_ok() || tried.apply(&step.inverse()).is_ok();
        if made && check(world, &tried).is_ok() {
            target = tried;
        }
    }
    target
}

/// One plan in the storm.
struct Gust<'a, S> {
    subject: &'a mut S,
    inventory: Inventory,
    plan: &'a Plan,
    before: Assignment,
    held: Assignment,
    faulty: Faulty,
    dies: Option<(u32, bool)>,
    journal: MemoryJournal,
    deaths: u32,
}

impl<'a, S: Subject> Gust<'a, S> {
    fn new(subject: &'a mut S, dice: &mut Dice, plan: &'a Plan, before: Assignment) -> Self {
        let gentle = [
            Fault::Slow,
            Fault::Busy,
            Fault::Refuses,
            Fault::Fails,
            Fault::Half,
            Fault::Silent,
            Fault::Forgets,
        ];
        let fault = gentle[usize::try_from(dice.throw(gentle.len() as u64)).unwrap_or(0)];
        // Half of them blow long after the plan is done.
        let well = if dice.throw(2) == 0 { u32::MAX } else { u32::try_from(dice.throw(4)).unwrap_or(0) };
        let dies =
            (dice.throw(3) == 0).then(|| (u32::try_from(dice.throw(6)).unwrap_or(0), dice.throw(2) == 0));
        let world = subject.world();
        let inventory = Inventory {
            topology: world.topology.clone(),
            vms: world.vms.to_vec(),
            capabilities: world.capabilities.clone(),
            profiles: std::sync::Arc::default(),
        };
        let held = before.clone();
        let faulty = Faulty::later(fault, well);
        Self {
            subject,
            inventory,
            plan,
            before,
            held,
            faulty,
            dies,
            journal: MemoryJournal::new(1),
            deaths: 0,
        }
    }

    fn blow(&mut self) {
        let (left, written) = self.dies.map_or((None, false), |(left, written)| (Some(left), written));
        let journal = Dying { kept: MemoryJournal::new(100_000), left, written, dead: false };
        let mut executor = Executor::new(journal);
        // A plan that the journal could not take is none.
        executor.submit(self.plan, HostTime::ZERO);
        let mut now = HostTime::ZERO;
        for tick in 0.. {
            assert!(tick < 10_000, "a plan keeps the executor busy for ever");
            if executor.journal().dead {
                executor = self.take_up(&executor);
            } else if executor.busy() == Families::NONE && executor.write_down(now).is_ok() {
                self.journal = executor.journal().kept.clone();
                return;
            }
            now += Duration::from_secs(1);
            self.turn(&mut executor, now);
        }
    }

    fn turn(&mut self, executor: &mut Executor<Dying>, now: HostTime) {
        self.subject.pass(TICK);
        // What became of it the journal says, whoever lives to tell.
        let _ = executor.settle(now, &mut self.faulty.over(self.subject.driver()));
        self.held = self.subject.held(&self.held);
        let world = self.inventory.world();
        if let Err(broken) = check(world, &self.held) {
            panic!("{broken}: {:#?}", self.held);
        }
        let driver = &mut self.faulty.over(self.subject.driver());
        let _ = executor.advance(now, world, &mut self.held, driver);
    }

    /// Another program finds what the dead one left.
    fn take_up(&mut self, dead: &Executor<Dying>) -> Executor<Dying> {
        self.deaths += 1;
        let kept = dead.journal().kept.clone();
        let unfinished = kept.unfinished().unwrap_or_else(|error| panic!("{error}"));
        let read = |believed| Ok::<_, std::convert::Infallible>(self.subject.held(&believed));
        let Ok(held) = unfinished.reread(&self.before, read);
        self.held = held;
        Executor::resume(Dying { kept, left: None, written: false, dead: false }, unfinished)
    }

    /// Compares what the machine holds with the old plan, the new one, and what was done.
    fn judge(self, number: u32, weather: &mut Weather) -> Assignment {
        (0..20).for_each(|_| self.subject.pass(TICK));
        let mut done = self.before.clone();
        let ended = |index: u32| {
            let of_it = |entry: &&Entry| entry.plan == self.plan.generation() && entry.index == index;
            self.journal.entries().filter(of_it).last().map(|entry| entry.state)
        };
        for (change, index) in self.plan.changes().iter().zip(0..) {
            if matches!(ended(index), Some(StepState::Succeeded | StepState::Kept)) {
                let _ = done.apply(&change.step);
            }
        }
        let candidates = [self.plan.target().clone(), self.before.clone(), done];
        let readings = candidates.clone().map(|candidate| self.subject.held(&candidate));
        let mut result = self.before.clone();
        for family in Family::ALL {
            let own = Families::NONE.with(family);
            let is = |at: usize| readings[at].clone().keeping(&candidates[at], own) == readings[at];
            let touched = self.plan.changes().iter().any(|change| change.step.family() == family);
            let found = (0..candidates.len()).find(|at| is(*at));
            let Some(found) = found else {
                let plan: Vec<String> =
                    self.plan.changes().iter().map(|change| change.step.to_string()).collect();
                let shown = |state: &Assignment| {
                    let one =
                        |held: &halcyon_model::Holding| format!("{} {} {}", held.vm, held.socket, held.cpu);
                    state.holdings.iter().map(one).collect::<Vec<_>>()
                };
                let said: Vec<_> =
                    readings.iter().zip(&candidates).map(|(a, b)| (shown(a), shown(b))).collect();
                panic!("plan {number}: {family:?} is a mixture: {plan:#?}\nread and expected: {said:#?}");
            };
            result = result.keeping(&candidates[found], own);
            let count = match found {
                0 => &mut weather.forward,
                1 => &mut weather.back,
                _ => &mut weather.in_part,
            };
            *count += u32::from(touched);
        }
        result
    }
}
