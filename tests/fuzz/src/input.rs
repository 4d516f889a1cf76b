use luxchat_rooms::VERSIONS;
use ruma::RoomVersionId;

/// What libFuzzer made up: a byte that says how to take the rest, then lines. The first is what `two` sends, each other one
/// what it answers to a request.
#[derive(Debug)]
pub struct Input {
    /// Whose version the room has, by its place in [`VERSIONS`].
    pub version: usize,
    /// Whether `two` hashes and signs the events, and refers to them by their names, so that they get past the first checks.
    pub is_forged: bool,
    lines: Vec<String>,
}

impl Input {
    /// `None` where there is nothing to send.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (mode, text) = data.split_first()?;
        let text = String::from_utf8_lossy(text);
        let lines: Vec<String> = text.split('\n').map(ToOwned::to_owned).collect();
        Some(Self {
            version: usize::from(mode & 7) % VERSIONS.len(),
            is_forged: mode & 8 == 0,
            lines,
        })
    }

    /// The byte for a version whose events are forged.
    pub fn mode(version: &RoomVersionId) -> u8 {
        let index = VERSIONS.iter().position(|known| known == version);
        b'@' + u8::try_from(index.unwrap_or_default()).unwrap_or_default()
    }

    pub fn version(&self) -> RoomVersionId {
        VERSIONS[self.version].clone()
    }

    /// The lines, first to last.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
