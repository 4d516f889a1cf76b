//! The recovery key: what opens the volume where the machine no longer does.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Letters that lie in the same place on nearly every keyboard; systemd writes its recovery keys with them too.
const LETTERS: &[u8; 16] = b"cbdefghijklnrtuv";
const BYTES: usize = 32;
/// Letters between two hyphens.
const GROUP: usize = 8;

/// 256 random bits, written in 64 letters.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey(Zeroizing<String>);

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey")
    }
}

impl RecoveryKey {
    /// Draws a key.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        SystemRandom::new()
            .fill(&mut *bytes)
            .map_err(|_| anyhow!("no random numbers can be had"))?;
        let letters: Zeroizing<String> = Zeroizing::new(
            bytes
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(|half| char::from(LETTERS[usize::from(half)]))
                .collect(),
        );
        Ok(Self(grouped(&letters)))
    }

    /// Reads a key as a person types it: capitals, spaces and hyphens do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace() && *c != '-')
                .map(|c| c.to_ascii_lowercase())
                .collect(),
        );
        let known = |c: char| u8::try_from(c).is_ok_and(|c| LETTERS.contains(&c));
        (letters.len() == 2 * BYTES && letters.chars().all(known)).then(|| Self(grouped(&letters)))
    }

    /// The text, which is the passphrase of the volume.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As a person copies it: two lines of four groups.
    pub fn lines(&self) -> String {
        let groups: Vec<_> = self.0.split('-').collect();
        let mut text = String::new();
        for four in groups.chunks(4) {
            let _ = writeln!(text, "    {}", four.join("-"));
        }
        text
    }

    /// As a square that a telephone reads.
    pub fn square(&self) -> Result<String> {
        let code = QrCode::with_error_correction_level(self.text(), EcLevel::L)?;
        Ok(code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build())
    }
}

fn grouped(letters: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * BYTES + 2 * BYTES / GROUP));
    for (index, letter) in letters.chars().enumerate() {
        if index > 0 && index % GROUP == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_people_type_it() {
        let key = RecoveryKey::generate().unwrap();
        assert_eq!(key.text().len(), 71);
        assert_ne!(key, RecoveryKey::generate().unwrap());
        assert_eq!(RecoveryKey::parse(key.text()), Some(key.clone()));
        let typed = key.text().to_uppercase().replace('-', " ");
        assert_eq!(RecoveryKey::parse(&typed), Some(key.clone()));
        assert_eq!(RecoveryKey::parse(&key.lines()), Some(key.clone()));
        for wrong in [
            "",
            "hunter2",
            &key.text()[1..],
            &key.text().replace(key.text().chars().next().unwrap(), "a"),
        ] {
            assert_eq!(RecoveryKey::parse(wrong), None, "{wrong}");
        }
        assert!(!format!("{key:?}").contains(&key.text()[..8]));
    }

    #[test]
    fn the_square_fits_a_plain_terminal() {
        let square = RecoveryKey::generate().unwrap().square().unwrap();
        assert!(square.lines().count() <= 21, "{}", square.lines().count());
        assert!(square.lines().all(|line| line.chars().count() <= 41));
        assert!(square.contains('█') && square.contains('▀'));
    }
}
