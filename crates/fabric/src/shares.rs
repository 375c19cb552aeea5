//! Who moves how much when many share links: weighted max-min fairness along routes, and for each the place
//! that holds it back.

/// Rates that differ by less, in proportion, are equal: levels are sums of differences, which round.
const ROUNDING: f64 = 1e-12;

/// A flow along a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// The segments that it goes through, each once.
    pub route: Vec<usize>,
    /// The most that it moves; at least zero.
    pub wanted: f64,
    /// How much it counts against others; above zero.
    pub weight: f64,
}

/// What holds a flow back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottleneck {
    /// Nothing: it moves what it wants to.
    Wanted,
    /// This segment is full, and none moves more through it by weight.
    Segment(usize),
}

/// Divides the capacities of segments among flows: rates rise together, by weight, and whoever meets a full
/// segment or has what it wants stays where it is (Bertsekas and Gallager, Data Networks, 2nd edition, section 6.5.2).
/// Gives the rate of each flow and what holds it back, in order.
///
/// One round for each flow at most, each of O(flows × length of routes + segments). What is not a number or
/// below zero counts as zero, and a segment that there is not as a full one.
#[must_use]
pub fn divide(capacities: &[f64], flows: &[Flow]) -> Vec<(f64, Bottleneck)> {
    let mut left: Vec<f64> = capacities.iter().map(|capacity| capacity.max(0.0)).collect();
    let mut shares = vec![(0.0, Bottleneck::Wanted); flows.len()];
    let mut open: Vec<usize> = (0..flows.len()).collect();
    let mut level = 0.0;
    let mut weights = vec![0.0; capacities.len()];
    open.retain(|index| {
        let missing = flows[*index].route.iter().find(|segment| **segment >= capacities.len());
        missing.inspect(|segment| shares[*index].1 = Bottleneck::Segment(**segment)).is_none()
    });
    while !open.is_empty() {
        weights.fill(0.0);
        for index in &open {
            for segment in &flows[*index].route {
                weights[*segment] += weight(&flows[*index]);
            }
        }
        // How far all can rise until the first segment is full or the first flow has what it wants.
        let full = (0..left.len())
            .filter(|segment| weights[*segment] > 0.0)
            .map(|segment| (left[segment] / weights[segment], segment))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        let content = open
            .iter()
            .map(|index| flows[*index].wanted.max(0.0) / weight(&flows[*index]) - level)
            .min_by(f64::total_cmp);
        let rise =
            content.into_iter().chain(full.map(|(rise, _)| rise)).fold(f64::INFINITY, f64::min).max(0.0);
        level += rise;
        for segment in 0..left.len() {
            left[segment] = (left[segment] - rise * weights[segment]).max(0.0);
        }
        let filled = full.filter(|(at, _)| *at <= rise).map(|(_, segment)| segment);
        let before = open.len();
        open.retain(|index| {
            let flow = &flows[*index];
            let wanted = flow.wanted.max(0.0);
            if wanted <= level * weight(flow) * (1.0 + ROUNDING) {
                shares[*index] = (wanted, Bottleneck::Wanted);
                return false;
            }
            shares[*index] = (level * weight(flow), Bottleneck::Wanted);
            let stuck = filled.filter(|segment| flow.route.contains(segment));
            stuck.inspect(|segment| shares[*index].1 = Bottleneck::Segment(*segment)).is_none()
        });
        if open.len() == before {
            break;
        }
    }
    shares
}

fn weight(flow: &Flow) -> f64 {
    flow.weight.max(f64::MIN_POSITIVE)
}
