//! Frames of a real run, keys, and screens of any size.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_lab::{Draw, Run, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_sim::trace::generator;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::draw::{Frame, Theme};
use super::scene::{Scene, Tempo};
use super::stage::Stage;
use super::view::{Action, Extent, Order, Panel, View};

struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

const HOST: &str = include_str!("../../../../../examples/hosts/two-socket.toml");

fn scenario(vms: usize, minutes: u64) -> Scenario {
    let host = parse_host(HOST).unwrap();
    let duration = Duration::from_secs(60 * minutes);
    let parameters = generator::Parameters::embedded().unwrap();
    let traces = generator::Generator::new(&parameters, 1).trace_set(vms, duration);
    let draw = Draw::new(vms, duration, 1);
    Scenario::draw(host.topology, host.capabilities, &traces, draw).unwrap()
}

/// The scene of a run of 20 minutes, ten of which have passed.
fn scene(vms: usize) -> Scene {
    let mut stage = Stage::new(&scenario(vms, 20), "reactive", false, &AtomicBool::new(false)).unwrap();
    let tempo = Tempo { speed: 360.0, paused: false };
    for step in 0..600 {
        stage.tick(&Still, false).unwrap();
        if step == 570 {
            let _ = stage.scene(tempo);
        }
    }
    stage.scene(tempo)
}

/// The scene after the first plan in the third minute of the learned policy was explained.
fn explained() -> Scene {
    let mut stage = Stage::new(&scenario(8, 5), "learned", false, &AtomicBool::new(false)).unwrap();
    (0..120).for_each(|_| assert!(!stage.tick(&Still, false).unwrap(), "nobody asked"));
    let tempo = Tempo { speed: 1.0, paused: true };
    assert_eq!(stage.scene(tempo).why, None);
    while !stage.tick(&Still, true).unwrap() {
        assert!(!stage.is_over(), "nothing changed");
    }
    stage.scene(tempo)
}

fn terminal(scene: &Scene, view: &View, colour: bool, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let frame = Frame { scene, view, theme: Theme { colour } };
    terminal.draw(|place| place.render_widget(frame, place.area())).unwrap();
    terminal
}

fn press(view: &mut View, code: KeyCode) -> Action {
    view.key(KeyEvent::new(code, KeyModifiers::NONE), |_| Extent { rows: 32, page: 10 })
}

#[test]
fn a_small_terminal_shows_the_vms_above_the_rest() {
    insta::assert_snapshot!(terminal(&scene(32), &View::default(), true, 80, 24).backend());
}

#[test]
fn a_large_terminal_shows_everything() {
    insta::assert_snapshot!(terminal(&scene(32), &View::default(), true, 140, 45).backend());
}

#[test]
fn a_plan_is_explained_when_asked_for() {
    let view = View { focus: Panel::Why, ..View::default() };
    let mut scene = explained();
    insta::assert_snapshot!(terminal(&scene, &view, true, 80, 24).backend());
    scene.why = None;
    let drawn = terminal(&scene, &view, true, 80, 24).backend().to_string();
    assert!(drawn.contains("the next plan will be explained here; space goes on"), "{drawn}");
}

#[test]
fn explanations_stay_as_they_are_until_asked_for_again() {
    let mut stage = Stage::new(&scenario(8, 5), "reactive", false, &AtomicBool::new(false)).unwrap();
    let tempo = Tempo { speed: 1.0, paused: false };
    while !stage.tick(&Still, true).unwrap() {}
    let why = stage.scene(tempo).why;
    assert!(why.as_ref().is_some_and(|why| !why.changes.is_empty() && why.fallback.is_none()));
    (0..60).for_each(|_| assert!(!stage.tick(&Still, false).unwrap()));
    assert_eq!(stage.scene(tempo).why, why);
}

#[test]
fn every_size_is_drawn_in_every_view() {
    let scene = Scene { why: explained().why, ..scene(4) };
    for focus in Panel::ALL {
        for help in [false, true] {
            let view = View { focus, help, ..View::default() };
            for (width, height) in (1..=20).flat_map(|width| (1..=5).map(move |height| (width, height))) {
                terminal(&scene, &view, true, width, height);
            }
            for (width, height) in [(40, 8), (60, 17), (80, 18), (118, 30), (119, 29), (300, 100)] {
                terminal(&scene, &view, true, width, height);
            }
        }
    }
}

#[test]
fn a_scene_with_nothing_in_it_is_drawn() {
    let mut empty = scene(4);
    empty.vms.clear();
    empty.host_rows.clear();
    empty.notes.clear();
    empty.duration = Duration::ZERO;
    terminal(&empty, &View::default(), true, 140, 45);
}

#[test]
fn without_colour_there_is_none() {
    let scene = scene(32);
    let drawn = terminal(&scene, &View::default(), false, 140, 45);
    let plain = |colour: Color| colour == Color::Reset;
    assert!(drawn.backend().buffer().content().iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
}

#[test]
fn the_worst_vm_comes_first_when_asked_for() {
    let scene = scene(32);
    let view = View { order: Order::WorstFirst, ..View::default() };
    let drawn = terminal(&scene, &view, true, 140, 45).backend().to_string();
    let of = |vm: &super::scene::VmRow| vm.utility.watched.unwrap_or(1.0);
    let worst = scene.vms.iter().min_by(|a, b| of(a).total_cmp(&of(b))).unwrap();
    let head = drawn.lines().position(|line| line.contains("wants")).unwrap();
    assert!(drawn.lines().nth(head + 1).unwrap().contains(&worst.name));
}

#[test]
fn watching_and_asking_why_changes_nothing() {
    let scenario = scenario(8, 5);
    let mut stage = Stage::new(&scenario, "learned", false, &AtomicBool::new(false)).unwrap();
    for _ in 0..100 {
        stage.tick(&Still, true).unwrap();
        stage.scene(Tempo { speed: 1.0, paused: false });
    }
    let mut unwatched = Run::new(&scenario, "learned", false).unwrap();
    let mut watched = stage.into_runs().swap_remove(0);
    for run in [&mut watched, &mut unwatched] {
        while !run.is_over() {
            run.tick(&Still).unwrap();
        }
    }
    let (watched, unwatched) = (watched.finish(), unwatched.finish());
    assert_eq!(watched.score, unwatched.score);
    assert_eq!(watched.decisions_ns, unwatched.decisions_ns);
    assert_eq!(watched.changes_per_hour.to_bits(), unwatched.changes_per_hour.to_bits());
}

#[test]
fn keys_do_what_the_help_says() {
    let mut view = View::default();
    assert_eq!(press(&mut view, KeyCode::Char(' ')), Action::Pause);
    assert_eq!(press(&mut view, KeyCode::Char('+')), Action::Faster);
    assert_eq!(press(&mut view, KeyCode::Char('-')), Action::Slower);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Leave);
    assert_eq!(press(&mut view, KeyCode::Esc), Action::Leave);
    press(&mut view, KeyCode::Char('s'));
    assert_eq!(view.order, Order::WorstFirst);
    press(&mut view, KeyCode::Tab);
    assert_eq!(view.focus, Panel::Host);
    press(&mut view, KeyCode::BackTab);
    press(&mut view, KeyCode::BackTab);
    assert!(view.asks_why());
    press(&mut view, KeyCode::Char('e'));
    assert_eq!(view.focus, Panel::Vms);
    press(&mut view, KeyCode::Char('e'));
    assert_eq!(view.focus, Panel::Why);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(interrupt, |_| Extent::default()), Action::Interrupt);
}

#[test]
fn any_key_closes_the_help_and_only_that() {
    let mut view = View::default();
    press(&mut view, KeyCode::Char('?'));
    assert!(view.help);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Look);
    assert!(!view.help);
}

#[test]
fn scrolling_stops_at_both_ends() {
    let mut view = View::default();
    let extent = Extent { rows: 32, page: 10 };
    press(&mut view, KeyCode::Up);
    assert_eq!(view.top(Panel::Vms, extent), 0);
    press(&mut view, KeyCode::PageDown);
    assert_eq!(view.top(Panel::Vms, extent), 9);
    for _ in 0..9 {
        press(&mut view, KeyCode::PageDown);
    }
    assert_eq!(view.top(Panel::Vms, extent), 22);
    press(&mut view, KeyCode::Up);
    assert_eq!(view.top(Panel::Vms, extent), 21, "what was scrolled past the end is not owed");
    assert_eq!(view.top(Panel::Vms, Extent { rows: 5, page: 10 }), 0, "a larger screen shows all");
    press(&mut view, KeyCode::Home);
    assert_eq!(view.top(Panel::Vms, extent), 0);
}

#[test]
fn a_panel_that_is_not_on_the_screen_has_no_extent() {
    let scene = scene(4);
    let view = View::default();
    let frame = Frame { scene: &scene, view: &view, theme: Theme { colour: true } };
    assert_eq!(frame.extent(Rect::new(0, 0, 80, 24), Panel::Host), Extent::default());
    assert_eq!(frame.extent(Rect::new(0, 0, 80, 24), Panel::Vms).rows, 4);
}
