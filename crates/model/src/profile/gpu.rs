//! How a program responds to the compute slices of a GPU.

use crate::units::ByteSize;

/// A program's response to GPU compute slices.
///
/// ```text
///  time(s)  = fixed + memory · whole_m / m(s) + compute · whole / s     in units of the time on the whole GPU
///  speed(s) = 1 / time(s)                                               fixed + memory + compute = 1
/// ```
///
/// An instance's share of the memory's bandwidth is that of its memory slices, m. They follow from its
/// compute slices as in NVIDIA's list of instance profiles (A100, H100 and A30 alike): the next power of
/// two, so that 1, 2, 3, 4 and 7 of 7 compute slices come with 1, 2, 4, 4 and 8 of 8 memory slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuResponse {
    /// Compute slices of the whole GPU.
    pub whole: u32,
    /// Share of the time on the whole GPU that slices do not shorten, 0 to 1.
    pub fixed: f64,
    /// Share of the time on the whole GPU that goes with memory slices, 0 to 1. The rest goes with
    /// compute slices.
    pub bandwidth: f64,
    /// Device memory below which it does not run.
    pub memory: ByteSize,
}

impl GpuResponse {
    /// Speed with `slices` compute slices, 1 with the whole GPU, 0 with none.
    #[must_use]
    pub fn speed(&self, slices: u32) -> f64 {
        if slices == 0 {
            return 0.0;
        }
        let compute = (1.0 - self.fixed - self.bandwidth).max(0.0);
        let [by_compute, by_memory] = Self::scarcity(self.whole, slices);
        1.0 / (self.fixed + compute * by_compute + self.bandwidth * by_memory)
    }

    /// How many times longer compute and memory take with `slices` of `whole` compute slices.
    #[must_use]
    pub fn scarcity(whole: u32, slices: u32) -> [f64; 2] {
        let memory_slices = |compute: u32| f64::from(compute.clamp(1, 1 << 30).next_power_of_two());
        [f64::from(whole.max(1)) / f64::from(slices.max(1)), memory_slices(whole) / memory_slices(slices)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_slices_are_never_slower() {
        let response = GpuResponse { whole: 7, fixed: 0.3, bandwidth: 0.3, memory: ByteSize::gib(5) };
        assert!(response.speed(0) == 0.0 && (response.speed(7) - 1.0).abs() < 1e-12);
        assert!((1..7).all(|slices| response.speed(slices) < response.speed(slices + 1)));
    }

    #[test]
    fn memory_slices_are_those_of_the_instance_profiles() {
        let memory = |slices| 8.0 / GpuResponse::scarcity(7, slices)[1];
        assert_eq!([1, 2, 3, 4, 7].map(memory), [1.0, 2.0, 4.0, 4.0, 8.0]);
        assert_eq!([1, 2, 4].map(|slices| GpuResponse::scarcity(4, slices)[1]), [4.0, 2.0, 1.0]);
    }
}
