//! The demo as it is watched: a policy at work beside the static assignment, on the same scenario.
//!
//! ```text
//!  keys ─► View ─► Action ──channel──► simulation thread: Pace ─► Stage (two runs in lockstep)
//!            │                                                      │
//!            └────────► Frame ◄───────── newest Scene ◄─────────────┘
//! ```
//! The simulation never waits for the screen: it leaves a scene in a slot when the last one was taken.
//! What was watched is a run like any other, and goes on at full speed from where it was left.

mod draw;
mod host;
mod pace;
mod phrase;
mod scene;
mod stage;
#[cfg(test)]
mod tests;
mod units;
mod view;

use std::io::{IsTerminal, Stdout, stderr, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use halcyon_control::Stopwatch;
use halcyon_lab::{Run, RunError, Scenario};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::draw::{Frame, Theme};
use self::pace::Pace;
use self::scene::Scene;
use self::stage::Stage;
use self::view::{Action, View};

/// Time between two redraws, and so the longest that a key waits.
const REDRAW: Duration = Duration::from_millis(80);

/// How long the simulation sleeps when nothing is due.
const NAP: Duration = Duration::from_millis(2);

/// How long an explanation stays on the screen before that of a later plan takes its place.
const READ: Duration = Duration::from_secs(3);

/// How long the last frame is left on the screen.
const LINGER: Duration = Duration::from_millis(1500);

/// How long a whole run is watched, unless told otherwise.
const WATCHED_S: f64 = 60.0;

/// What came of watching.
pub(super) enum Watched {
    /// It ended, or the person had seen enough: the runs, as far as they came.
    Seen(Vec<Run>),
    /// The program is to be left.
    Interrupted,
}

/// Whether there is a terminal to watch on, and somebody at it.
pub(super) fn is_possible() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    able && stdout().is_terminal() && stderr().is_terminal() && stdin().is_terminal()
}

/// Shows `policy` at work on a scenario until it is over or a key ends it. `speed` is in simulated
/// seconds per second, infinite for as fast as possible.
///
/// # Errors
/// When a run stops, or the terminal cannot be used; it is restored whatever happens.
pub(super) fn watch(
    scenario: &Scenario,
    policy: &str,
    speed: Option<f64>,
    record: bool,
    stopwatch: &(dyn Stopwatch + Sync),
    stop: &AtomicBool,
) -> Result<Watched> {
    let mut stage = Stage::new(scenario, policy, record, stop)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Watched::Interrupted);
    }
    let speed = speed.unwrap_or_else(|| (scenario.duration.as_secs_f64() / WATCHED_S).max(1.0));
    let pace = Pace::new(speed, scenario.parameters.step, stopwatch.elapsed());
    let slot = Slot::new(stage.scene(pace.tempo()));
    let (sender, actions) = channel();
    let mut screen = Screen::open()?;
    let (seen, stage) = std::thread::scope(|scope| {
        let slot = &slot;
        let simulation = scope.spawn(move || simulate(stage, pace, &actions, slot, stopwatch));
        let seen = look(&mut screen, slot, &sender, stop, &|| simulation.is_finished());
        // Without its sender the simulation ends.
        drop(sender);
        let stage = simulation.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (seen, stage)
    });
    match seen {
        // There is nothing to put in order, and to say that this fails nobody to say it to.
        Ok(Seen::Gone) => std::mem::forget(screen),
        _ => drop(screen),
    }
    let stage = stage?;
    Ok(match seen? {
        Seen::Enough => Watched::Seen(stage.into_runs()),
        Seen::Interrupted | Seen::Gone => Watched::Interrupted,
    })
}

/// The terminal, as long as it is ours.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Whether a thread panicked, and the terminal was restored for its message. Held while drawing, so
    /// that nothing is drawn over it.
    broken: Arc<Mutex<bool>>,
}

impl Screen {
    fn open() -> Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore());
        let terminal =
            terminal.context("cannot draw on this terminal; use --json, or redirect the output")?;
        let broken = Arc::new(Mutex::new(false));
        let (flag, own) = (Arc::clone(&broken), std::thread::current().id());
        let restore_and_report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The thread that draws may hold it already, and must not wait for itself.
            let drawing = std::thread::current().id() == own;
            let held = if drawing { flag.try_lock().ok() } else { flag.lock().ok() };
            if let Some(mut broken) = held {
                *broken = true;
            }
            restore_and_report(panic);
        }));
        Ok(Self { terminal, broken })
    }

    /// Draws a frame; tells whether the terminal is still ours.
    fn draw(&mut self, frame: Frame<'_>) -> Result<bool> {
        let Ok(broken) = self.broken.lock() else { return Ok(false) };
        if !*broken {
            self.terminal.draw(|place| place.render_widget(frame, place.area())).context("cannot draw")?;
        }
        Ok(!*broken)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.broken.lock().is_ok_and(|broken| !*broken) {
            // There may be no terminal any more to put in order.
            let _ = ratatui::try_restore();
        }
    }
}

/// The newest scene that has not been drawn yet, and whether plans are looked at.
struct Slot {
    scene: Mutex<Option<Scene>>,
    asks_why: AtomicBool,
}

impl Slot {
    fn new(first: Scene) -> Self {
        Self { scene: Mutex::new(Some(first)), asks_why: AtomicBool::new(false) }
    }

    fn take(&self) -> Option<Scene> {
        self.scene.lock().ok().and_then(|mut slot| slot.take())
    }

    fn is_taken(&self) -> bool {
        self.scene.lock().is_ok_and(|slot| slot.is_none())
    }

    fn put(&self, scene: Scene) {
        if let Ok(mut slot) = self.scene.lock() {
            *slot = Some(scene);
        }
    }
}

/// Runs the simulation until it is over or nobody sends actions any more.
fn simulate(
    mut stage: Stage,
    mut pace: Pace,
    actions: &Receiver<Action>,
    slot: &Slot,
    stopwatch: &(dyn Stopwatch + Sync),
) -> Result<Stage, RunError> {
    let mut shown = stopwatch.elapsed();
    let mut explained: Option<Duration> = None;
    loop {
        let acted = match actions.try_recv() {
            Ok(action) => act(&mut pace, action),
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => return Ok(stage),
        };
        let now = stopwatch.elapsed();
        let ticked = !stage.is_over() && pace.is_due(now);
        if ticked {
            let read = explained.is_none_or(|at| now >= at + READ);
            if stage.tick(stopwatch, read && slot.asks_why.load(Ordering::Relaxed))? {
                explained = Some(now);
            }
        }
        if acted || stage.is_over() || now >= shown + REDRAW / 2 && slot.is_taken() {
            slot.put(stage.scene(pace.tempo()));
            shown = now;
        }
        if stage.is_over() {
            return Ok(stage);
        }
        if !ticked {
            match actions.recv_timeout(NAP) {
                Ok(action) => {
                    act(&mut pace, action);
                    slot.put(stage.scene(pace.tempo()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(stage),
            }
        }
    }
}

fn act(pace: &mut Pace, action: Action) -> bool {
    match action {
        Action::Pause => pace.pause(),
        Action::Faster => pace.faster(),
        Action::Slower => pace.slower(),
        Action::Look | Action::Leave | Action::Interrupt => return false,
    }
    true
}

enum Seen {
    Enough,
    Interrupted,
    /// There is no terminal any more.
    Gone,
}

/// Draws scenes and takes keys until a key or the end of the simulation ends it.
fn look(
    screen: &mut Screen,
    slot: &Slot,
    actions: &Sender<Action>,
    stop: &AtomicBool,
    is_over: &dyn Fn() -> bool,
) -> Result<Seen> {
    let theme = Theme { colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let mut view = View::default();
    let Some(mut scene) = slot.take() else { return Ok(Seen::Enough) };
    let mut linger = LINGER;
    loop {
        // Asked before the slot is looked into: what comes after the end is the last scene.
        let over = is_over();
        if let Some(newer) = slot.take() {
            scene = newer;
        }
        let frame = Frame { scene: &scene, view: &view, theme };
        match screen.draw(frame) {
            Ok(true) => {}
            Ok(false) => return Ok(Seen::Enough),
            Err(_) if !is_there(Duration::ZERO)? => return Ok(Seen::Gone),
            Err(error) => return Err(error),
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Seen::Interrupted);
        }
        if over {
            if linger.is_zero() || scene.tempo.speed.is_infinite() {
                return Ok(Seen::Enough);
            }
            linger = linger.saturating_sub(REDRAW);
        }
        if !is_there(REDRAW)? {
            return Ok(Seen::Gone);
        }
        let size = screen.terminal.size().context("cannot tell the size of the terminal")?;
        let area = Rect::new(0, 0, size.width, size.height);
        match keys(&scene, &mut view, theme, area, actions)? {
            Action::Leave => return Ok(Seen::Enough),
            Action::Interrupt => return Ok(Seen::Interrupted),
            _ => slot.asks_why.store(view.asks_why(), Ordering::Relaxed),
        }
    }
}

/// Waits until there is something to read, at most for `wait`; tells whether the terminal is still there.
/// Of one that is gone nothing but ends can be read, which whoever waits for keys would read for ever.
fn is_there(wait: Duration) -> Result<bool> {
    let input = stdin();
    let mut looked = [PollFd::new(&input, PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut looked, Some(&wait)) {
        Ok(_) => {
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            Ok(!looked[0].revents().intersects(gone) && input.is_terminal())
        }
        // The size of the terminal has changed, or somebody wants us to stop.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error).context("cannot wait for keys"),
    }
}

/// Takes all keys that are there.
fn keys(
    scene: &Scene,
    view: &mut View,
    theme: Theme,
    screen: Rect,
    actions: &Sender<Action>,
) -> Result<Action> {
    while event::poll(Duration::ZERO).context("cannot wait for keys")? {
        let Event::Key(key) = event::read().context("cannot read keys")? else { continue };
        let seen = view.clone();
        let frame = Frame { scene, view: &seen, theme };
        match view.key(key, |panel| frame.extent(screen, panel)) {
            Action::Look => {}
            action @ (Action::Leave | Action::Interrupt) => return Ok(action),
            // When the simulation is over, nobody takes these any more.
            action => {
                let _ = actions.send(action);
            }
        }
    }
    Ok(Action::Look)
}
