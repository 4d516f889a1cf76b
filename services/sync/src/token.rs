use std::{fmt, str::FromStr};

use luxchat_store::Position;

use crate::Error;

/// A place between two changes: everything up to it has been seen.
///
/// One number serves sync and pagination alike. A sync that could not hand over all to-device messages carries a second
/// one, behind the first: up to where they went.
///
/// ```
/// # use luxchat_sync::SyncToken;
/// let token: SyncToken = "52_40".parse().unwrap();
/// assert_eq!((token.position.0, token.to_device.0), (52, 40));
/// assert_eq!(token.to_string(), "52_40");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncToken {
    /// The global position, or a place in a room's backfilled timeline where negative.
    pub position: Position,
    /// Up to where the device has its to-device messages.
    pub to_device: Position,
}

impl SyncToken {
    /// The token of one position.
    pub fn at(position: Position) -> Self {
        Self {
            position,
            to_device: position,
        }
    }

    /// The place just after the event at `pos` of a timeline.
    pub fn after(pos: i64) -> Self {
        Self::at(Position(pos))
    }

    /// The place just before the event at `pos` of a timeline.
    pub fn before(pos: i64) -> Self {
        Self::at(Position(pos.saturating_sub(1)))
    }
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.position)?;
        if self.to_device != self.position {
            write!(f, "_{}", self.to_device)?;
        }
        Ok(())
    }
}

impl FromStr for SyncToken {
    type Err = Error;

    fn from_str(token: &str) -> Result<Self, Error> {
        let number = |digits: &str| {
            let number = digits.parse().map(Position);
            number.map_err(|_| Error::UnknownToken(token.chars().take(64).collect()))
        };
        match token.split_once('_') {
            Some((position, to_device)) => Ok(Self {
                position: number(position)?,
                to_device: number(to_device)?,
            }),
            None => Ok(Self::at(number(token)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for token in ["0", "17", "-4", "52_40"] {
            assert_eq!(token.parse::<SyncToken>().unwrap().to_string(), token);
        }
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for token in ["", "_", "s1_2_3", "1_", "99999999999999999999", "t-1"] {
            assert!(token.parse::<SyncToken>().is_err(), "{token}");
        }
    }
}
