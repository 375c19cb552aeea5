//! Which CPUs a single thread may run on, within what its control group allows.

use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cgroup::NumberList;

/// Keeps a thread to these CPUs.
///
/// # Errors
/// When there is no such thread, or its group allows none of them.
pub fn pin(thread: u32, cpus: &NumberList) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in &cpus.0 {
        let cpu = usize::try_from(*cpu).ok().filter(|cpu| *cpu < CpuSet::MAX_CPU);
        set.set(cpu.ok_or_else(|| io::Error::other(format!("no CPU above {} is known", CpuSet::MAX_CPU)))?);
    }
    Ok(sched_setaffinity(Some(of(thread)?), &set)?)
}

/// The CPUs that a thread is kept to.
///
/// # Errors
/// When there is no such thread.
pub fn pinned(thread: u32) -> io::Result<NumberList> {
    let set = sched_getaffinity(Some(of(thread)?))?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect())
}

fn of(thread: u32) -> io::Result<Pid> {
    // Zero would be whoever asks.
    let raw = i32::try_from(thread).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| io::Error::other(format!("{thread} is no thread")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_and_let_go() {
        let worker = std::thread::spawn(|| {
            let own =
                u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).expect("it has a number");
            let all = pinned(own).expect("it is read");
            let one = NumberList(all.0.iter().take(1).copied().collect());
            pin(own, &one).expect("it may");
            let kept = pinned(own).expect("it is read");
            pin(own, &all).expect("it may");
            assert_eq!((kept, pinned(own).expect("it is read")), (one, all));
        });
        worker.join().expect("all of that holds");
        assert!(pin(0, &NumberList(vec![0])).is_err() && pinned(u32::MAX).is_err());
        assert!(pin(1, &NumberList(vec![5000])).is_err());
    }
}
