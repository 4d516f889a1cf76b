use std::time::Duration;

/// When to try again what somebody else did not take: after `first`, then after twice as long each time, up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// How long to wait after `failures` failed attempts in a row. `jitter` in [0, 1) takes up to half of it away, so that
    /// those that failed together do not come back together.
    pub fn delay(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_mins(10),
    };

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds: Vec<u64> = (1..=12)
            .map(|failures| BACKOFF.delay(failures, 0.0).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(BACKOFF.delay(u32::MAX, 0.0), BACKOFF.longest);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        for failures in 0..20 {
            let full = BACKOFF.delay(failures, 0.0);
            for jitter in [0.1, 0.5, 0.999, 1.0, 7.0] {
                let cut = BACKOFF.delay(failures, jitter);
                assert!(cut < full && cut >= full / 2, "{failures} {jitter}");
            }
        }
    }
}
