//! Requests that wait: how many of those that arrive in a step are answered in time.

/// A service for the length of one step. Rates are in work per second, that is in cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Work that arrives.
    pub arrival: f64,
    /// Work that could be done, were there enough of it.
    pub capacity: f64,
    /// Cores that it is spread over.
    pub cores: f64,
    /// Speed of one of them, 1 at best.
    pub speed: f64,
    /// Work that waits, in the middle of the step.
    pub backlog: f64,
    /// Work of one request.
    pub request: f64,
    /// Time that a request spends on a GPU besides, in seconds.
    pub elsewhere: f64,
}

impl Service {
    /// The share of requests that are answered within `objective` seconds.
    ///
    /// A request waits for the backlog before it, then as in an M/M/k queue, then runs on one core. The
    /// probability of waiting at all is Sakasegawa's approximation ρ^(√(2(k+1)) − 1) ("An approximation
    /// formula L_q ≃ α·ρ^β/(1−ρ)", 1977), and the wait, if there is one, is exponential with rate
    /// (capacity − arrival) / request. Where more arrives than can be done, the growing backlog stands
    /// for the wait.
    #[must_use]
    pub fn in_time(&self, objective: f64) -> f64 {
        if self.capacity <= 1e-9 {
            return 0.0;
        }
        let slack = objective - self.without_queue();
        if slack <= 0.0 {
            return 0.0;
        }
        1.0 - self.waits() * libm::exp(-slack * self.free() / self.request)
    }

    /// The time within which 99 of 100 requests are answered, in seconds; an hour where nothing is.
    #[must_use]
    pub fn p99(&self) -> f64 {
        if self.capacity <= 1e-9 {
            return 3600.0;
        }
        let queue = libm::log((self.waits() / 0.01).max(1.0)) * self.request / self.free();
        (self.without_queue() + queue).min(3600.0)
    }

    fn without_queue(&self) -> f64 {
        let run = self.request / (self.speed.max(1e-6) * self.cores.min(1.0));
        run + self.elsewhere + self.backlog / self.capacity
    }

    fn waits(&self) -> f64 {
        let load = (self.arrival / self.capacity).min(1.0);
        let servers = self.cores.max(1.0);
        libm::pow(load, libm::sqrt(2.0 * (servers + 1.0)) - 1.0)
    }

    fn free(&self) -> f64 {
        (self.capacity - self.arrival).max(0.02 * self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(arrival: f64, capacity: f64, backlog: f64) -> Service {
        Service { arrival, capacity, cores: capacity, speed: 1.0, backlog, request: 0.005, elsewhere: 0.0 }
    }

    #[test]
    fn more_capacity_never_hurts_and_more_load_never_helps() {
        let mut last = 1.0;
        for step in 0..40 {
            let now = service(f64::from(step) * 0.1, 3.0, 0.0).in_time(0.02);
            assert!(now <= last + 1e-12, "load {step}");
            last = now;
        }
        assert!(service(1.0, 4.0, 0.0).in_time(0.02) > service(1.0, 1.2, 0.0).in_time(0.02));
    }

    #[test]
    fn one_server_is_the_m_m_1_queue() {
        // For M/M/1 the wait exceeds t with probability ρ·e^(−(μ−λ)t).
        let (arrival, request, objective) = (0.8, 0.01, 0.06);
        let one =
            Service { arrival, capacity: 1.0, cores: 1.0, speed: 1.0, backlog: 0.0, request, elsewhere: 0.0 };
        let exact = 1.0 - 0.8 * libm::exp(-(0.2 / request) * (objective - request));
        assert!((one.in_time(objective) - exact).abs() < 1e-12);
    }

    #[test]
    fn the_percentile_is_where_a_hundredth_is_late() {
        for (arrival, capacity, backlog) in [(0.5, 2.0, 0.0), (1.9, 2.0, 0.0), (3.0, 4.0, 0.02)] {
            let service = service(arrival, capacity, backlog);
            let share = service.in_time(service.p99());
            assert!((share - 0.99).abs() < 1e-9 || service.waits() < 0.01, "{arrival}: {share}");
        }
    }

    #[test]
    fn a_backlog_longer_than_the_objective_fails_everybody() {
        assert!(service(1.0, 2.0, 0.5).in_time(0.1) == 0.0);
        assert!(service(1.0, 0.0, 0.0).in_time(0.1) == 0.0);
    }
}
