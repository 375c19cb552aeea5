//! The constants of the performance model by the names that files know them by.

use std::time::Duration;

use halcyon_sim::Parameters;

/// Where one constant is kept.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A length of time, in seconds.
    Time(fn(&mut Parameters) -> &mut Duration),
    /// Any other figure.
    Number(fn(&mut Parameters) -> &mut f64),
    /// Whether or not.
    Flag(fn(&mut Parameters) -> &mut bool),
}

/// One constant: its name in files, its place, and what values make sense.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) least: f64,
    pub(super) most: f64,
}

const DAY: f64 = 86_400.0;

macro_rules! figure {
    ($name:literal, $kind:ident, $field:ident, $least:expr, $most:expr) => {
        Figure { name: $name, place: Place::$kind(|all| &mut all.$field), least: $least, most: $most }
    };
}

/// All of them, in the order in which they are written.
pub(super) const FIGURES: [Figure; 24] = [
    figure!("step_s", Time, step, 0.01, 60.0),
    figure!("window_s", Time, window, 1.0, DAY),
    figure!("burst_sigma", Number, burst_sigma, 0.0, 10.0),
    figure!("burst_rho", Number, burst_rho, 0.0, 0.999_999),
    figure!("surge_every_s", Time, surge_every, 1.0, 1e9),
    figure!("surge_length_s", Time, surge_length, 0.0, DAY),
    figure!("surge_height", Number, surge_height, 0.0, 1000.0),
    figure!("throttle_steps", Number, throttle_steps, 1.0, 1e6),
    figure!("throttle_settles_s", Time, throttle_settles, 0.0, DAY),
    figure!("throttle_hits", Number, throttle_hits, 0.0, 1.0),
    figure!("throttle_spill", Number, throttle_spill, 0.0, 1.0),
    figure!("gpu_drain_s", Time, gpu_drain, 0.0, DAY),
    figure!("remote_slowdown", Number, remote_slowdown, 0.0, 100.0),
    figure!("paging_slowdown", Number, paging_slowdown, 0.0, 1e6),
    figure!("patience_s", Time, patience, 0.0, DAY),
    figure!("balloon_inflate_bytes_s", Number, balloon_inflate_bytes_s, 1.0, 1e15),
    figure!("balloon_deflate_bytes_s", Number, balloon_deflate_bytes_s, 1.0, 1e15),
    figure!("migrate_bytes_s", Number, migrate_bytes_s, 1.0, 1e15),
    figure!("refusal_after_s", Time, refusal_after, 0.0, DAY),
    figure!("refusal_rest_s", Time, refusal_rest, 0.0, DAY),
    figure!("device_failure", Number, device_failure, 0.0, 1.0),
    figure!("paravirtual_bytes_s", Number, paravirtual_bytes_s, 1.0, 1e15),
    figure!("counter_noise", Number, counter_noise, 0.0, 1.0),
    figure!("counter_lag", Flag, counter_lag, 0.0, 1.0),
];

impl Figure {
    /// Its value as TOML has it.
    pub(super) fn get(&self, parameters: &Parameters) -> toml::Value {
        let mut copy = parameters.clone();
        match self.place {
            Place::Time(place) => toml::Value::Float(place(&mut copy).as_secs_f64()),
            Place::Number(place) => toml::Value::Float(*place(&mut copy)),
            Place::Flag(place) => toml::Value::Boolean(*place(&mut copy)),
        }
    }

    /// Sets it, or says what would be right.
    pub(super) fn set(&self, parameters: &mut Parameters, value: &toml::Value) -> Result<(), String> {
        if let Place::Flag(place) = self.place {
            let flag = value.as_bool().ok_or("is neither true nor false")?;
            *place(parameters) = flag;
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss)]
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let (number, least, most) = (number.ok_or("is not a number")?, self.least, self.most);
        if !(least..=most).contains(&number) {
            return Err(format!("is {number}; it must be from {least} to {most}"));
        }
        match self.place {
            Place::Time(place) => *place(parameters) = Duration::from_secs_f64(number),
            Place::Number(place) => *place(parameters) = number,
            Place::Flag(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A constant that files do not know would silently be its default again after reading.
    #[test]
    fn every_constant_of_the_model_has_a_name_in_files() {
        let all = format!("{:?}", Parameters::default());
        let inside = all.split_once('{').expect("a structure").1;
        let fields = inside.matches(": ").count();
        assert_eq!(fields, FIGURES.len(), "add what is missing to FIGURES: {all}");
    }

    #[test]
    fn every_default_is_within_what_makes_sense_and_survives() {
        for figure in &FIGURES {
            let (default, mut copy) = (Parameters::default(), Parameters::default());
            let value = figure.get(&default);
            figure.set(&mut copy, &value).unwrap_or_else(|problem| panic!("{} {problem}", figure.name));
            assert_eq!(copy, default, "{}", figure.name);
        }
    }
}
