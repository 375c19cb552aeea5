//! What each VM held and used over time, at three scales: ten minutes by the second, two hours by ten
//! seconds, a day by the minute. Means, so that a coarser scale hides peaks and loses nothing else.

use std::collections::{BTreeMap, VecDeque};

use halcyon_api::Point;
use halcyon_model::VmId;

/// Seconds between two points, and how many are kept.
pub(crate) const SCALES: [(u32, usize); 3] = [(1, 600), (10, 720), (60, 1440)];
const FIGURES: usize = 5;

/// One point's figures, in the order of [`Point`]; those that are missing are not numbers.
pub(crate) type Figures = [f32; FIGURES];

/// What every VM held and used.
#[derive(Debug, Default)]
pub(crate) struct Trails(BTreeMap<VmId, [Scale; SCALES.len()]>);

#[derive(Debug, Default)]
struct Scale {
    points: VecDeque<(f64, Figures)>,
    sums: Figures,
    counts: [u32; FIGURES],
    since: u32,
}

impl Trails {
    /// Takes what one VM held and used in the second before `at_s`.
    pub(crate) fn take(&mut self, vm: VmId, at_s: f64, figures: &Figures) {
        for (scale, (every, most)) in self.0.entry(vm).or_default().iter_mut().zip(SCALES) {
            scale.take(at_s, figures, every, most);
        }
    }

    /// Lets go of VMs that are no more.
    pub(crate) fn keep(&mut self, is_there: impl Fn(VmId) -> bool) {
        self.0.retain(|vm, _| is_there(*vm));
    }

    /// The points of a VM, `every` seconds; none where there is no such scale.
    pub(crate) fn points(&self, vm: VmId, every: u32) -> Option<Vec<Point>> {
        let scale = SCALES.iter().position(|(seconds, _)| *seconds == every)?;
        let scales = self.0.get(&vm);
        Some(scales.map_or_else(Vec::new, |scales| scales[scale].points.iter().map(point).collect()))
    }
}

impl Scale {
    fn take(&mut self, at_s: f64, figures: &Figures, every: u32, most: usize) {
        for (index, figure) in figures.iter().enumerate().filter(|(_, figure)| figure.is_finite()) {
            self.sums[index] += figure;
            self.counts[index] += 1;
        }
        self.since += 1;
        if self.since < every {
            return;
        }
        let mut means = [f32::NAN; FIGURES];
        for (index, mean) in means.iter_mut().enumerate().filter(|(index, _)| self.counts[*index] > 0) {
            #[allow(clippy::cast_precision_loss)]
            let count = self.counts[index] as f32;
            *mean = self.sums[index] / count;
        }
        if self.points.len() == most {
            self.points.pop_front();
        }
        self.points.push_back((at_s, means));
        (self.sums, self.counts, self.since) = Default::default();
    }
}

fn point((at_s, figures): &(f64, Figures)) -> Point {
    let [ceiling, used, waited, memory, working_set] =
        figures.map(|figure| figure.is_finite().then(|| f64::from(figure)));
    Point {
        at_s: *at_s,
        cpu_ceiling_milli: ceiling,
        cpu_used_milli: used,
        cpu_waited_milli: waited,
        memory_bytes: memory,
        working_set_bytes: working_set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_means_and_bounded() {
        let mut trails = Trails::default();
        let vm = VmId(3);
        for second in 1..=7000_u16 {
            let used = if second % 2 == 0 { 100.0 } else { 300.0 };
            trails.take(vm, f64::from(second), &[1000.0, used, f32::NAN, 5.0, f32::NAN]);
        }
        let [seconds, tens, minutes] = SCALES.map(|(every, _)| trails.points(vm, every).expect("a scale"));
        assert_eq!((seconds.len(), tens.len(), minutes.len()), (600, 700, 116));
        assert_eq!(seconds[599].cpu_used_milli, Some(100.0));
        assert_eq!(tens[0].cpu_used_milli, Some(200.0));
        assert_eq!(
            (minutes[0].at_s, minutes[0].cpu_waited_milli),
            (60.0, None),
            "what is missing is not zero"
        );
        assert_eq!(trails.points(vm, 7), None);
        trails.keep(|_| false);
        assert_eq!(trails.points(vm, 1), Some(Vec::new()));
    }
}
