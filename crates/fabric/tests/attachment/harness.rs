//! Runs attachments in the world, one after another for each guest, and looks at each end.

use std::time::Duration;

use halcyon_fabric::Part;
use halcyon_fabric::attachment::{
    Ask, Attachment, Claims, End, Guest, Habits, Limits, Ticket, Wants, Whereabouts,
};
use halcyon_fabric::cxl_fm::PhysicalPort;

use super::field::Field;
use super::world::{FULL, MESSAGE, RIVAL, WRONG, World};

/// What an attachment may ask for at most, and how long it may take at most.
const STEPS: u32 = 3_000;
const LONGEST: Duration = Duration::from_secs(3_600);

/// A device that is to come to a guest, or back from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) device: usize,
    pub(crate) guest: usize,
    pub(crate) attach: bool,
}

struct Running {
    job: Job,
    attachment: Attachment,
    due: Option<Ticket>,
    steps: u32,
    restarts: u32,
    began: Duration,
}

fn part(device: usize) -> Part {
    Part { port: PhysicalPort(u8::try_from(device).unwrap()), ld: None }
}

/// Carries out jobs, as many at a time as there are guests. Gives the end of each that was begun.
pub(crate) fn run(world: &mut World, jobs: &[Job]) -> Result<Vec<(Job, End)>, String> {
    let mut habits = Habits::default();
    let mut claims: Claims<usize> = Claims::default();
    let mut running: Vec<Option<Running>> = world.machines.iter().map(|_| None).collect();
    let mut jobs = jobs.iter().copied().peekable();
    let mut ends = Vec::new();
    loop {
        let now = world.now;
        for slot in &mut running {
            if slot.is_none()
                && let Some(job) = jobs.next()
                && claims.claim(part(job.device), job.guest).is_ok()
            {
                let wants = Wants { link: Some(FULL) };
                let attachment = if job.attach {
                    Attachment::attach(now, wants, Limits::default())
                } else {
                    Attachment::detach(now, Limits::default())
                };
                *slot = Some(Running { job, attachment, due: None, steps: 0, restarts: 0, began: now });
            }
        }
        for (index, slot) in running.iter_mut().enumerate() {
            let Some(run) = slot else { continue };
            step(world, run, index, &mut habits)?;
            if let Some(end) = run.attachment.end() {
                check(world, run.job, &end)?;
                claims.ended(part(run.job.device), &end);
                ends.push((run.job, end));
                world.forget(index);
                *slot = None;
            }
        }
        if jobs.peek().is_none() && running.iter().all(Option::is_none) {
            break;
        }
        let wakes = running.iter().flatten().filter_map(|run| run.attachment.wakes());
        let next = wakes.chain(world.next_event()).min().unwrap_or(now);
        world.advance(next.max(now + Duration::from_micros(1)));
        if let Some(violation) = world.violations.first() {
            return Err(violation.clone());
        }
    }
    // What is still on its way arrives: nothing of it may change what the ends said.
    let later = world.now + LONGEST;
    world.advance(later);
    world.violations.first().map_or(Ok(ends), |violation| Err(violation.clone()))
}

fn step(world: &mut World, run: &mut Running, index: usize, habits: &mut Habits) -> Result<(), String> {
    let now = world.now;
    // A manager that is started anew for ever brings nothing to an end.
    if run.restarts < 4 && run.steps % 16 == 7 && world.goes(Field::Restart) {
        run.restarts += 1;
        run.attachment = run.attachment.clone().resumed(now);
        run.due = None;
        run.steps += 1;
    }
    let arrived = world.answers.iter().position(|(at, asker, _)| *at <= now && *asker == index);
    if let Some(at) = arrived {
        let (_, _, answer) = world.answers.remove(at);
        // A ticket is used for one answer; what comes late finds none.
        if let Some(ticket) = run.due.take() {
            run.attachment.told(now, ticket, answer, habits);
        }
    }
    if let Some((ticket, ask)) = run.attachment.next(now, habits) {
        // Whoever carries it out drops what is still to come of the last thing that timed out.
        world.forget(index);
        run.due = Some(ticket);
        run.steps += 1;
        world.send(index, ask, run.job.device, run.job.guest);
        if ask == Ask::Unbind && !run.job.attach && run.steps < 2 {
            return Err("unbound without having looked".into());
        }
    }
    if run.steps > STEPS || now - run.began > LONGEST {
        return Err(format!("no end after {} steps and {:?}", run.steps, now - run.began));
    }
    Ok(())
}

/// The device is where the end says.
fn check(world: &World, job: Job, end: &End) -> Result<(), String> {
    // Somebody else's doing that came after the last survey was read is nobody's fault.
    if world.now - world.unasked <= 4 * MESSAGE {
        return Ok(());
    }
    let device = &world.devices[job.device];
    let machine = &world.machines[job.guest];
    let ours = device.owners.contains(&job.guest);
    let others = device.owners.contains(&RIVAL) || device.owners.contains(&WRONG);
    let has = machine.phase != Guest::Off && machine.has.contains_key(&job.device);
    let so = match end.whereabouts {
        Whereabouts::Attached => ours && !others && has,
        Whereabouts::Bound => ours && !others && !has,
        Whereabouts::Free => device.owners.is_empty() && !has,
        Whereabouts::Elsewhere => !ours && !has,
        Whereabouts::Unknown => true,
    };
    if so { Ok(()) } else { Err(format!("{end:?}, but {device:?} and {machine:?} at {:?}", world.now)) }
}
