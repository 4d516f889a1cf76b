//! When to try again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(10);

/// How long to wait after `failures` failed attempts in a row: twice as long each time, up to ten minutes. `jitter` in
/// [0, 1) takes up to half of it away, so that peers that failed together do not come back together.
pub(crate) fn delay(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = (FIRST * (1 << doublings)).min(LONGEST);
    longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds: Vec<u64> = (1..=12)
            .map(|failures| delay(failures, 0.0).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(delay(u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        for failures in 0..20 {
            let full = delay(failures, 0.0);
            for jitter in [0.1, 0.5, 0.999, 1.0, 7.0] {
                let cut = delay(failures, jitter);
                assert!(cut < full && cut >= full / 2, "{failures} {jitter}");
            }
        }
    }
}
