//! One control cycle after another at a steady pace, on the machine's clock.
//!
//! Cycles are due at whole periods from the start, so that a late one does not shift those after it. One
//! that takes longer than its period costs those that would have begun meanwhile, and they are counted. A
//! cycle that cannot be completed changes nothing; the next one tries again.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use halcyon_control::{Cycle, Mode, Outcome, Stopwatch};
use halcyon_hal::{Host, Journal, error_chain};
use halcyon_model::{HostTime, VmId};
use halcyon_policy::Policy;

use crate::board::Board;
use crate::config::Config;

/// A host that time passes on.
pub trait Machine: Host + Send {
    /// What people call it.
    fn name(&self) -> &str;

    /// Time since Halcyon started to look.
    fn now(&self) -> HostTime;

    /// The time between two cycles that comes nearest to what is wanted.
    fn period(&self, wanted: Duration) -> Duration {
        wanted
    }

    /// Whether what is decided will be carried out from now on.
    fn let_act(&mut self, acts: bool) {
        let _ = acts;
    }

    /// What VMs do, such as `running`, as far as that is known.
    fn states(&self) -> Vec<(VmId, &'static str)> {
        Vec::new()
    }

    /// What keeps VMs from being managed or measured, each on a line.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Another cycle is about to begin, a period after the last.
    fn pass(&mut self, period: Duration) -> Passed;
}

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// There is something to do.
    On,
    /// There is no more to do, ever: a simulated host at the end of its scenario.
    Over,
}

/// What an engine is told while it runs.
pub(crate) enum Order {
    /// Go on like this.
    Change { config: Box<Config>, policy: Option<Box<dyn Policy + Send>> },
    /// End, and leave all as it is.
    Stop,
}

/// Time since the engine started.
struct Watch(Instant);

impl Stopwatch for Watch {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Runs cycles until it is told to stop or the machine's time is over.
pub(crate) struct Engine<'a, J> {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) cycle: Cycle<J>,
    pub(crate) config: Config,
    pub(crate) board: &'a Board,
    pub(crate) orders: Receiver<Order>,
    /// Called after every cycle.
    pub(crate) beat: &'a mut dyn FnMut(),
}

impl<J: Journal> Engine<'_, J> {
    pub(crate) fn run(mut self) {
        let watch = Watch(Instant::now());
        let mut due = Instant::now();
        let mut noticed = None;
        self.announce();
        loop {
            match self.orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Order::Change { config, policy }) => {
                    self.change(*config, policy);
                    continue;
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let began = Instant::now();
            let late = began.saturating_duration_since(due);
            let period = self.machine.period(self.config.period);
            if self.machine.pass(period) == Passed::Over {
                tracing::info!("the scenario is over");
                break;
            }
            self.turn(&watch, late, began);
            self.notice(self.machine.now(), &mut noticed);
            (self.beat)();
            due += period;
            while due + period <= Instant::now() {
                due += period;
                self.board.shown().pace.missed += 1;
            }
        }
        if let Err(error) = self.cycle.write_down(self.machine.now()) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the journal was not brought up to date"
            );
        }
    }

    /// Notices are put together from what every source says, and so not in every cycle.
    fn notice(&self, now: HostTime, last: &mut Option<HostTime>) {
        if last.is_none_or(|last| now.saturating_sub(last) >= Duration::from_secs(1)) {
            *last = Some(now);
            let notices = self.machine.notices();
            self.board.shown().notices = notices;
        }
    }

    fn announce(&self) {
        let mut shown = self.board.shown();
        shown.mode = self.config.mode;
        shown.policy.clone_from(&self.config.policy);
        shown.period = self.machine.period(self.config.period);
    }

    fn change(&mut self, config: Config, policy: Option<Box<dyn Policy + Send>>) {
        self.cycle.reconfigure(of_cycle(&config));
        if let Some(policy) = policy {
            self.cycle.replace_policy(policy);
        }
        self.machine.let_act(config.mode == halcyon_api::Mode::Act);
        self.config = config;
        self.announce();
    }

    fn turn(&mut self, watch: &Watch, late: Duration, began: Instant) {
        let now = self.machine.now();
        let outcome = self.cycle.tick(&mut *self.machine, now, watch);
        let took = began.elapsed();
        let mut shown = self.board.shown();
        shown.uptime = watch.0.elapsed();
        shown.pace.count += 1;
        shown.pace.late.push(late.as_secs_f64() * 1e6);
        shown.pace.took.push(took.as_secs_f64() * 1e6);
        match outcome {
            Ok(outcome) => {
                shown.pace.decision.push(outcome.decision.as_secs_f64() * 1e6);
                shown.trouble = None;
                drop(shown);
                self.show(now, &outcome);
            }
            Err(error) => {
                shown.pace.failed += 1;
                let told = error_chain(&error);
                if shown.trouble.as_ref() != Some(&told) {
                    tracing::error!(error = told, "a cycle was not completed; VMs stay as they are");
                }
                shown.trouble = Some(told);
            }
        }
    }

    fn show(&self, now: HostTime, outcome: &Outcome) {
        let inventory = self.machine.inventory();
        let mut shown = self.board.shown();
        shown.fallback = outcome.fallback.as_ref().map(ToString::to_string);
        shown.see(&inventory, self.cycle.snapshot());
        shown.states = self.machine.states().into_iter().collect();
        shown.stuck = self.cycle.executor().stuck().iter().map(|stuck| stuck.step.to_string()).collect();
        if let Some(plan) = &outcome.plan {
            let acts = self.config.mode == halcyon_api::Mode::Act;
            shown.plan(now, plan, acts, || self.cycle.explain(&inventory, outcome));
        }
        shown.events(&outcome.events);
    }
}

/// How the control cycle is to behave.
pub(crate) fn of_cycle(config: &Config) -> halcyon_control::Config {
    let mode = match config.mode {
        halcyon_api::Mode::Observe => Mode::Observe,
        halcyon_api::Mode::Advise => Mode::Advise,
        halcyon_api::Mode::Act => Mode::Act,
    };
    // A decision that is later than half a period would eat into the next.
    halcyon_control::Config { mode, deadline: Some(config.period / 2) }
}
