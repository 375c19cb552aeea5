//! A machine in memory that does what its script says, and whose every state the checker looks at.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use halcyon_hal::{
    Actuate, ActuateError, Entry, Event, Executor, Journal, JournalError, MemoryJournal, Progress, StepState,
    Ticket, Trouble, Unfinished,
};
use halcyon_model::{
    Assignment, Generation, HostTime, Plan, Proposal, Standing, Step, World, approve, check, diff,
};

/// How the machine takes one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Play {
    Done,
    After(u32),
    RefuseAfter(u32),
    /// An error at the beginning; nothing was changed.
    Error,
    /// It fails, and nothing was changed.
    FailAfter(u32),
    /// It fails, but is in effect.
    HalfAfter(u32),
    Silent,
}

struct Flight {
    step: Step,
    play: Play,
}

pub(crate) struct Machine<'w> {
    pub(crate) world: World<'w>,
    pub(crate) assignment: Assignment,
    script: Vec<(Step, VecDeque<Play>)>,
    flights: BTreeMap<Ticket, Flight>,
    next: u64,
    pub(crate) begun: Vec<Step>,
}

impl<'w> Machine<'w> {
    pub(crate) fn new(world: World<'w>, assignment: Assignment) -> Self {
        check(world, &assignment).expect("the start is feasible");
        let (script, flights, begun) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { world, assignment, script, flights, next: 0, begun }
    }

    /// How the next attempts at a step go; after them, it is done at once.
    pub(crate) fn script(&mut self, step: &Step, plays: &[Play]) {
        self.script.push((step.clone(), plays.iter().copied().collect()));
    }

    /// Nobody will ask after what is under way any more; some of it ends all the same.
    pub(crate) fn orphan(&mut self, mut lands: impl FnMut(&Step) -> bool) {
        let landing: Vec<Ticket> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.play != Play::Silent && lands(&flight.step))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in landing {
            let flight = self.flights.remove(&ticket).expect("it was there");
            self.finish(&flight.step, flight.play);
        }
    }

    fn play(&mut self, step: &Step) -> Play {
        let scripted = self.script.iter_mut().rev().find(|(scripted, _)| scripted == step);
        scripted.and_then(|(_, plays)| plays.pop_front()).unwrap_or(Play::Done)
    }

    fn make(&mut self, step: &Step) {
        self.assignment.apply(step).expect("the machine was where the step starts from");
        self.look();
    }

    /// The checker is content with the machine as it is, and with every state that it may be in once some
    /// of what is under way has landed.
    pub(crate) fn look(&self) {
        let steps: Vec<&Step> = self.flights.values().map(|flight| &flight.step).collect();
        let most = 1_u32 << steps.len().min(5);
        for landed in (0..most).chain([u32::MAX]) {
            let mut state = self.assignment.clone();
            let lands = |index: usize| landed == u32::MAX || landed & 1 << index.min(31) != 0;
            for (_, step) in steps.iter().enumerate().filter(|(index, _)| lands(*index)) {
                // What was given up on may land no more.
                let _ = state.apply(step);
            }
            if let Err(broken) = check(self.world, &state) {
                let names =
                    |steps: &[&Step]| steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let begun: Vec<&Step> = self.begun.iter().rev().take(12).collect();
                panic!("{broken}: with {} under way; begun, newest first: {}", names(&steps), names(&begun));
            }
        }
    }

    fn finish(&mut self, step: &Step, play: Play) -> Progress {
        let why = || "as the script says".to_string();
        match play {
            Play::Done | Play::After(_) => {
                self.make(step);
                Progress::Done
            }
            Play::RefuseAfter(_) => Progress::Refused { why: why() },
            Play::HalfAfter(_) => {
                self.make(step);
                Progress::Failed { why: why() }
            }
            Play::Error | Play::FailAfter(_) | Play::Silent => Progress::Failed { why: why() },
        }
    }
}

impl Actuate for Machine<'_> {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::from_secs(1)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.begun.push(step.clone());
        let refuse = |why: &str| ActuateError { step: step.to_string(), why: why.into() };
        let play = self.play(step);
        if play == Play::Error {
            return Err(refuse("as the script says"));
        }
        let called_off = |flight: &Flight| flight.step == *step || flight.step == step.inverse();
        let known: Vec<Ticket> =
            self.flights.iter().filter(|(_, flight)| called_off(flight)).map(|(ticket, _)| *ticket).collect();
        let mut undone = false;
        for ticket in known {
            undone |= self.flights.remove(&ticket).is_some_and(|flight| flight.step != *step);
        }
        if undone || !self.assignment.matches(step) {
            let there = undone || self.assignment.matches(&step.inverse());
            return if there { Ok(Progress::Done) } else { Err(refuse("it starts from another state")) };
        }
        match play {
            Play::Done | Play::After(0) | Play::RefuseAfter(0) | Play::FailAfter(0) | Play::HalfAfter(0) => {
                Ok(self.finish(step, play))
            }
            _ => {
                let ticket = Ticket(self.next);
                self.next += 1;
                self.flights.insert(ticket, Flight { step: step.clone(), play });
                self.look();
                Ok(Progress::UnderWay(ticket))
            }
        }
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let flight = self.flights.get_mut(&ticket).expect("only what is under way is asked after");
        match &mut flight.play {
            Play::Silent => return Progress::UnderWay(ticket),
            Play::After(left) | Play::RefuseAfter(left) | Play::FailAfter(left) | Play::HalfAfter(left)
                if *left > 1 =>
            {
                *left -= 1;
                return Progress::UnderWay(ticket);
            }
            _ => {}
        }
        let flight = self.flights.remove(&ticket).expect("it was there");
        self.finish(&flight.step, flight.play)
    }
}

/// A journal that judges what it is told, and can be full at one moment.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) entries: Vec<Entry>,
    states: BTreeMap<(Generation, u32), StepState>,
    pub(crate) steps: BTreeMap<(Generation, u32), Step>,
    asked: usize,
    /// Which records are refused, counted from zero.
    pub(crate) full: std::ops::Range<usize>,
    /// The record at which the program dies, and whether that record is still written.
    pub(crate) dies_at: Option<(usize, bool)>,
}

impl Book {
    pub(crate) fn states(&self) -> Vec<StepState> {
        self.states.values().copied().collect()
    }

    pub(crate) fn of_plan(&self, plan: Generation) -> impl Iterator<Item = (u32, &Step, StepState)> {
        let states = self.states.iter().filter(move |((of, _), _)| *of == plan);
        states.map(|(key, state)| (key.1, &self.steps[key], *state))
    }
}

impl Journal for Book {
    fn record(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        self.asked += 1;
        let dead = JournalError { journal: "book".into(), trouble: Trouble::Unreachable, source: None };
        match self.dies_at {
            Some((at, written)) if self.asked > at => {
                if written && self.asked == at + 1 {
                    entries.iter().for_each(|entry| self.take(entry));
                }
                return Err(dead);
            }
            _ => {}
        }
        if self.full.contains(&(self.asked - 1)) {
            return Err(JournalError { journal: "book".into(), trouble: Trouble::Full, source: None });
        }
        entries.iter().for_each(|entry| self.take(entry));
        Ok(())
    }
}

impl Book {
    /// Whether the program that wrote it is dead.
    pub(crate) fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|(at, _)| self.asked > at)
    }

    /// What a program that starts anew finds.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let mut kept = MemoryJournal::new(self.entries.len().max(1));
        kept.record(&self.entries).expect("memory takes all");
        kept.unfinished().expect("it is what an executor wrote")
    }

    fn take(&mut self, entry: &Entry) {
        let key = (entry.plan, entry.index);
        match self.states.insert(key, entry.state) {
            None => assert_eq!(entry.state, StepState::Planned, "{entry:?}"),
            Some(before) => assert!(before.may_become(entry.state), "{before:?} became {:?}", entry.state),
        }
        if let Some(step) = &entry.step {
            self.steps.insert(key, step.clone());
        }
        self.entries.push(entry.clone());
    }
}

/// A machine with an executor and a clock.
pub(crate) struct Bench<'w> {
    pub(crate) machine: Machine<'w>,
    pub(crate) executor: Executor<Book>,
    pub(crate) now: HostTime,
    pub(crate) plan: Generation,
    pub(crate) events: Vec<Event>,
    pub(crate) errors: usize,
}

impl<'w> Bench<'w> {
    pub(crate) fn new(world: World<'w>, start: Assignment) -> Self {
        Self {
            machine: Machine::new(world, start),
            executor: Executor::new(Book::default()),
            now: HostTime::ZERO,
            plan: Generation(0),
            events: Vec::new(),
            errors: 0,
        }
    }

    pub(crate) fn with_full_journal(mut self, full: std::ops::Range<usize>) -> Self {
        self.executor = Executor::new(Book { full, ..Book::default() });
        self
    }

    pub(crate) fn dying_at(mut self, record: usize, written: bool) -> Self {
        self.executor = Executor::new(Book { dies_at: Some((record, written)), ..Book::default() });
        self
    }

    /// The program dies. Of what was under way, `lands` says what the machine ends by itself; then another
    /// program takes up what the journal has.
    pub(crate) fn restart(&mut self, dies_at: Option<(usize, bool)>, lands: impl FnMut(&Step) -> bool) {
        self.machine.orphan(lands);
        let old = self.executor.journal();
        let (entries, states, steps) = (old.entries.clone(), old.states.clone(), old.steps.clone());
        let unfinished = old.unfinished();
        let book = Book { entries, states, steps, dies_at, ..Book::default() };
        self.executor = Executor::resume(book, unfinished);
    }

    pub(crate) fn plan_for(&self, target: &Assignment) -> Plan {
        let world = self.machine.world;
        let standing = Standing { snapshot: Generation(0), plan: self.plan };
        let held = &self.machine.assignment;
        approve(world, standing, &Proposal::default(), held, diff(world, held, target))
            .expect("the plan keeps the rules")
    }

    pub(crate) fn submit(&mut self, plan: &Plan) {
        self.plan = plan.generation();
        self.executor.submit(plan, self.now);
    }

    /// A second passes, and the executor does what it can.
    pub(crate) fn tick(&mut self) {
        self.now += Duration::from_secs(1);
        self.note(|executor, now, machine| executor.settle(now, machine));
        let (world, mut held) = (self.machine.world, self.machine.assignment.clone());
        self.note(|executor, now, machine| executor.advance(now, world, &mut held, machine));
        self.machine.look();
        let booked = self.executor.journal();
        for step in &self.machine.begun {
            let known = booked.steps.values().any(|known| known == step || known.inverse() == *step);
            assert!(known, "`{step}` was begun and is not in the journal");
        }
    }

    fn note(
        &mut self,
        work: impl FnOnce(&mut Executor<Book>, HostTime, &mut Machine<'w>) -> Result<Vec<Event>, JournalError>,
    ) {
        match work(&mut self.executor, self.now, &mut self.machine) {
            Ok(events) => self.events.extend(events),
            Err(_) => self.errors += 1,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.executor.busy() == halcyon_model::Families::NONE
    }

    /// Until nothing is under way; every transaction ends, and the journal knows how.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20_000 {
            if self.is_idle() {
                self.errors += usize::from(self.executor.write_down(self.now).is_err());
                return;
            }
            self.tick();
        }
        panic!("busy for ever: {:#?}", self.executor);
    }
}
