//! What a quantity was over longer than a window: weighted means over four spans, and the last day.
//!
//! Both go by the time that really passed between two entries, so that cycles of any length, and cycles
//! that were left out, come to the same figures. Both are of a fixed size.

use std::time::Duration;

use halcyon_model::HostTime;

/// How far back a mean of [`Trend`] looks: an entry this old counts 1/e of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Four seconds.
    Seconds4,
    /// Half a minute.
    Seconds30,
    /// Five minutes.
    Minutes5,
    /// One hour.
    Hour1,
}

/// Spans in seconds, in the order of [`Span`].
const SPANS_S: [f64; 4] = [4.0, 30.0, 300.0, 3600.0];

/// What is left of the weight of older entries after a time, for each span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decay {
    kept: [f32; SPANS_S.len()],
    new: [f32; SPANS_S.len()],
}

impl Decay {
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn over(elapsed: Duration) -> Self {
        let kept = SPANS_S.map(|span| libm::exp(-elapsed.as_secs_f64() / span));
        Self { kept: kept.map(|kept| kept as f32), new: kept.map(|kept| (1.0 - kept) as f32) }
    }
}

/// Exponentially weighted means of one quantity.
///
/// Each entry stands for the time since the one before it. The means are divided by the weight that there
/// is so far, so that they are means from the second entry on and do not grow from zero. Time without an
/// entry takes weight from what was seen before it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trend {
    sums: [f32; SPANS_S.len()],
    weights: [f32; SPANS_S.len()],
}

impl Trend {
    /// The mean over a span; nothing before time has passed with entries, or long after the last of them.
    #[must_use]
    pub fn mean(&self, span: Span) -> Option<f64> {
        let (sum, weight) = (self.sums[span as usize], self.weights[span as usize]);
        (weight > 1e-9).then(|| f64::from(sum / weight))
    }

    pub(crate) fn add(&mut self, value: Option<f64>, decay: &Decay) {
        #[allow(clippy::cast_possible_truncation)]
        let (value, there) = value.map_or((0.0, 0.0), |value| (value as f32, 1.0));
        for place in 0..SPANS_S.len() {
            let (kept, new) = (decay.kept[place], there * decay.new[place]);
            self.sums[place] = settled(self.sums[place] * kept + new * value);
            self.weights[place] = settled(self.weights[place] * kept + new);
        }
    }
}

/// What decays ends at zero, and not among the numbers that a machine is slow with.
fn settled(value: f32) -> f32 {
    if value < 1e-30 { 0.0 } else { value }
}

/// Parts of a day, each of which has a mean of its own.
const PARTS: usize = 288;
/// How long a part lasts, in seconds.
const PART_S: u64 = 300;
const DAY: Duration = Duration::from_secs(PARTS as u64 * PART_S);

/// Means of one quantity per five minutes over the last 24 hours.
///
/// Takes 1,152 bytes from the end of the first five minutes on, and none before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Day {
    /// The mean of the part with number `n`, counted from the start of the clock, at `n % PARTS`; not a
    /// number where there is none.
    means: Vec<f32>,
    /// The number of the part that is under way.
    part: u64,
    sum: f64,
    seconds: f64,
}

impl Day {
    /// The mean of the five minutes in which the moment 24 hours before `at` lies. With `at` up to 24 hours
    /// in the future, this is what a day like the last one would bring.
    #[must_use]
    pub fn day_ago(&self, at: HostTime) -> Option<f32> {
        let part = Self::part(at.checked_sub(DAY)?);
        let there = part < self.part && self.part - part <= PARTS as u64;
        there.then(|| self.means.get(place(part)).copied()).flatten().filter(|mean| !mean.is_nan())
    }

    /// What is to come after `ahead` if the change from `level`, what is seen now, is that of yesterday.
    #[must_use]
    pub fn seasonal(&self, now: HostTime, ahead: Duration, level: f64) -> Option<f64> {
        let change = self.day_ago(now.saturating_add(ahead))? - self.day_ago(now)?;
        Some((level + f64::from(change)).max(0.0))
    }

    /// The number of the part in which a moment lies.
    pub(crate) fn part(at: HostTime) -> u64 {
        at.as_secs() / PART_S
    }

    /// Adds what was seen at a moment of `part`, for the `seconds` since the entry before.
    #[inline]
    pub(crate) fn add(&mut self, part: u64, seconds: f64, value: Option<f64>) {
        if part != self.part {
            self.close(part);
        }
        if let Some(value) = value {
            self.sum += value * seconds;
            self.seconds += seconds;
        }
    }

    /// Ends the part that is under way; those between it and the next had no entries.
    #[cold]
    fn close(&mut self, next: u64) {
        if next < self.part {
            // The clock went back: what is there has no time any more.
            self.means.clear();
        } else if self.seconds > 0.0 || !self.means.is_empty() {
            self.means.resize(PARTS, f32::NAN);
            #[allow(clippy::cast_possible_truncation)]
            let mean = (self.sum / self.seconds) as f32;
            self.means[place(self.part)] = mean;
            let skipped = (self.part + 1).max(next.saturating_sub(PARTS as u64))..next;
            skipped.for_each(|part| self.means[place(part)] = f32::NAN);
        }
        (self.part, self.sum, self.seconds) = (next, 0.0, 0.0);
    }
}

#[allow(clippy::cast_possible_truncation)]
fn place(part: u64) -> usize {
    (part % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn means_go_by_the_time_that_passed_and_not_by_the_number_of_entries() {
        let (mut often, mut seldom) = (Trend::default(), Trend::default());
        for (value, times) in [(100.0, 40), (300.0, 8), (50.0, 4)] {
            (0..times).for_each(|_| often.add(Some(value), &Decay::over(seconds(1))));
            seldom.add(Some(value), &Decay::over(seconds(times)));
        }
        for span in [Span::Seconds4, Span::Seconds30, Span::Minutes5, Span::Hour1] {
            let (often, seldom) = (often.mean(span).unwrap(), seldom.mean(span).unwrap());
            assert!((often / seldom - 1.0).abs() < 1e-5, "{span:?}: {often} and {seldom}");
        }
    }

    #[test]
    fn a_mean_starts_at_what_is_seen_and_is_forgotten_without_entries() {
        let mut trend = Trend::default();
        assert_eq!(trend.mean(Span::Hour1), None);
        trend.add(Some(7.0), &Decay::over(Duration::ZERO));
        assert_eq!(trend.mean(Span::Seconds4), None, "no time has passed with it");
        trend.add(Some(7.0), &Decay::over(seconds(1)));
        assert!((trend.mean(Span::Hour1).unwrap() - 7.0).abs() < 1e-5);
        trend.add(None, &Decay::over(seconds(600)));
        assert_eq!(trend.mean(Span::Seconds4), None);
        assert!((trend.mean(Span::Hour1).unwrap() - 7.0).abs() < 1e-5);
    }

    fn add(day: &mut Day, at: Duration, elapsed: Duration, value: Option<f64>) {
        day.add(Day::part(at), elapsed.as_secs_f64(), value);
    }

    #[test]
    fn yesterday_is_found_by_its_time_of_day() {
        let mut day = Day::default();
        let hour = |at: u64| (at / 3600 % 24) as f64;
        for at in (0..26 * 3600).step_by(60) {
            add(&mut day, seconds(at), seconds(60), Some(hour(at)));
        }
        let now = seconds(26 * 3600 - 60);
        assert_eq!(day.day_ago(now), Some(1.0));
        assert_eq!(day.day_ago(now + seconds(9 * 3600)), Some(10.0));
        assert_eq!(day.day_ago(now + seconds(23 * 3600)), Some(0.0), "today's midnight");
        assert_eq!(day.day_ago(now + seconds(25 * 3600)), None, "that is still to come");
        assert_eq!(day.day_ago(now - seconds(7200)), None, "that is gone");
        assert_eq!(day.seasonal(now, seconds(2 * 3600), 5.0), Some(7.0));
    }

    #[test]
    fn gaps_and_clocks_that_go_back_leave_nothing_behind() {
        let mut day = Day::default();
        (0..600).for_each(|at| add(&mut day, seconds(at), seconds(1), Some(2.0)));
        add(&mut day, seconds(3600), seconds(3000), None);
        assert_eq!(day.day_ago(DAY + seconds(10)), Some(2.0));
        assert_eq!(day.day_ago(DAY + seconds(1500)), None, "nothing was read");
        add(&mut day, seconds(100), Duration::ZERO, Some(9.0));
        assert_eq!(day.day_ago(DAY + seconds(10)), None);
        add(&mut day, DAY * 1000, DAY * 1000, Some(9.0));
        assert_eq!(day.day_ago(DAY * 1001), None);
    }
}
