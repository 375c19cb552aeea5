//! What was measured, as a small table.

use std::time::Duration;

/// Times of the same thing, measured several times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub(crate) fn push(&mut self, time: Duration) {
        let place = self.0.partition_point(|held| *held < time);
        self.0.insert(place, time);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> Option<Duration> {
        let upper = *self.0.get(self.0.len() / 2)?;
        let lower = self.0[(self.0.len() - 1) / 2];
        Some((lower + upper) / 2)
    }

    /// The shortest.
    pub(crate) fn least(&self) -> Option<Duration> {
        self.0.first().copied()
    }

    /// The longest.
    pub(crate) fn most(&self) -> Option<Duration> {
        self.0.last().copied()
    }
}

/// How much longer `other` takes than `plain`, in percent, by the medians: at a glance, and the least that it
/// is with a confidence of 95 %. The second is by resampling (Efron 1979), with a fixed seed.
pub(crate) fn overhead_percent(plain: &Times, other: &Times) -> Option<(f64, f64)> {
    const SAMPLES: usize = 2000;
    let percent = |plain: &Times, other: &Times| {
        Some(100.0 * (other.median()?.as_secs_f64() / plain.median()?.as_secs_f64() - 1.0))
    };
    let seen = percent(plain, other)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut resampled = |times: &Times| {
        let draw = |_| {
            // Xorshift (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            times.0[usize::try_from(state >> 11).unwrap_or(0) % times.0.len()]
        };
        (0..times.0.len()).map(draw).collect::<Times>()
    };
    let again = (0..SAMPLES).filter_map(|_| percent(&resampled(plain), &resampled(other)));
    let mut again: Vec<f64> = again.collect();
    again.sort_by(f64::total_cmp);
    Some((seen, *again.get(SAMPLES / 20)?))
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut held: Vec<Duration> = times.into_iter().collect();
        held.sort_unstable();
        Self(held)
    }
}

/// Rows under a head.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table of these columns.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self(vec![head.map(str::to_owned).to_vec()])
    }

    /// A table of times.
    pub(crate) fn of_times() -> Self {
        Self::new(["", "runs", "median", "least", "most"])
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) -> &mut Self {
        self.0.push(cells.to_vec());
        self
    }

    /// Adds times to a table of them.
    pub(crate) fn times(&mut self, what: &str, times: &Times) -> &mut Self {
        let cell = |time: Option<Duration>| time.map_or_else(|| "–".into(), seconds);
        let cells = [times.median(), times.least(), times.most()].map(cell);
        let [median, least, most] = cells;
        self.row([what.into(), times.count().to_string(), median, least, most])
    }

    /// The table as text: the first column to the left, the others to the right.
    pub(crate) fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            text.push_str("  ");
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let padded = if column == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
                text.push_str(&padded);
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// A time in seconds, with three digits behind the point.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_nothing_has_none() {
        let times = |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Times>();
        assert_eq!(times(&[]).median(), None);
        assert_eq!(times(&[3, 1, 2]).median(), Some(Duration::from_millis(2)));
        assert_eq!(times(&[4, 1, 2, 3]).median(), Some(Duration::from_micros(2500)));
    }

    #[test]
    fn an_overhead_is_certain_only_where_the_times_are_apart() {
        let times = |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Times>();
        let plain = times(&[100, 101, 102, 103, 104]);
        let (seen, certain) = overhead_percent(&plain, &times(&[150, 151, 152, 153, 154])).unwrap();
        assert!((seen - 49.0).abs() < 1.0 && certain > 40.0, "{seen} {certain}");
        let (seen, certain) = overhead_percent(&plain, &times(&[60, 80, 120, 200, 300])).unwrap();
        assert!(seen > 15.0 && certain < 0.0, "{seen} {certain}");
        assert_eq!(overhead_percent(&plain, &times(&[])), None);
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::of_times();
        table.times("moved", &[Duration::from_secs(1)].into_iter().collect());
        assert_eq!(
            table.text(),
            "         runs   median    least     most\n  moved     1  1.000 s  1.000 s  1.000 s\n"
        );
    }
}
