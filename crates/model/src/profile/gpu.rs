//! How a program responds to the compute slices of a GPU.

use crate::units::ByteSize;

/// A program's response to GPU compute slices.
///
/// ```text
///  time(s) = fixed + (1 − fixed) · (whole / s)^scaling        in units of the time on the whole GPU
///  speed(s) = 1 / time(s)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuResponse {
    /// Compute slices of the whole GPU.
    pub whole: u32,
    /// Share of the time on the whole GPU that slices do not shorten, 0 to 1.
    pub fixed: f64,
    /// How the rest scales; 1 is perfectly.
    pub scaling: f64,
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
        let ratio = f64::from(self.whole) / f64::from(slices);
        1.0 / (self.fixed + (1.0 - self.fixed) * libm::pow(ratio, self.scaling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_slices_are_never_slower() {
        let response = GpuResponse { whole: 7, fixed: 0.3, scaling: 1.1, memory: ByteSize::gib(5) };
        assert!(response.speed(0) == 0.0 && (response.speed(7) - 1.0).abs() < 1e-12);
        assert!((1..7).all(|slices| response.speed(slices) < response.speed(slices + 1)));
    }
}
