//! The hours at which a box may restart into a release.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{Error, text_form::text_form};

const MINUTES_PER_DAY: u16 = 24 * 60;

/// Hours of every day, in UTC: `02:00-05:00`, `22:00-04:00`, `always` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Window {
    /// At any time.
    Always,
    /// Only when somebody asks for it.
    Never,
    /// From the first minute of the day, inclusive, to the second, exclusive.
    Daily { from: u16, to: u16 },
}

impl Window {
    /// Whether `now` is in it.
    pub fn contains(self, now: Timestamp) -> bool {
        let (from, to) = match self {
            Self::Always => return true,
            Self::Never => return false,
            Self::Daily { from, to } => (from, to),
        };
        let time = now.to_zoned(TimeZone::UTC).time();
        let minute =
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        if from < to {
            (from..to).contains(&minute)
        } else {
            minute >= from || minute < to
        }
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Window(text.chars().take(40).collect());
        match text {
            "always" => return Ok(Self::Always),
            "never" => return Ok(Self::Never),
            _ => {}
        }
        let (from, to) = text.split_once('-').ok_or_else(fault)?;
        let (from, to) = (
            minute(from).ok_or_else(fault)?,
            minute(to).ok_or_else(fault)?,
        );
        if from == to {
            return Err(fault());
        }
        Ok(Self::Daily { from, to })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Never => f.write_str("never"),
            Self::Daily { from, to } => write!(
                f,
                "{:02}:{:02}-{:02}:{:02}",
                from / 60,
                from % 60,
                to / 60,
                to % 60
            ),
        }
    }
}

text_form!(Window);

/// `HH:MM` as minutes since midnight.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day < MINUTES_PER_DAY).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(window: &str, time: &str) -> bool {
        let now = format!("2026-03-01T{time}:00Z").parse().unwrap();
        window.parse::<Window>().unwrap().contains(now)
    }

    #[test]
    fn hours_may_pass_midnight() {
        assert!(contains("02:00-05:00", "02:00"));
        assert!(contains("02:00-05:00", "04:59"));
        assert!(!contains("02:00-05:00", "05:00"));
        assert!(contains("22:30-04:00", "23:00"));
        assert!(contains("22:30-04:00", "03:59"));
        assert!(!contains("22:30-04:00", "12:00"));
        assert!(contains("always", "12:00") && !contains("never", "12:00"));
    }

    #[test]
    fn only_hours_are_taken() {
        for good in ["02:00-05:00", "23:59-00:00", "always", "never"] {
            assert_eq!(good.parse::<Window>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2:00-5:00",
            "02:00",
            "24:00-01:00",
            "02:60-03:00",
            "02:00-02:00",
            "+2:00-03:00",
            "nachts",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad:?} was taken");
        }
    }
}
