use luxchat_bundle::Window;
use serde::{Deserialize, Serialize};

/// When a sealed box takes a new release of its operating system. On any other machine that is the machine's own business.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Updates {
    /// Whether releases are fetched from the directory as they are published. Without, they come on a stick alone.
    pub fetch: bool,
    /// When the box may restart into one that it fetched.
    pub window: Window,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            fetch: true,
            window: Window::Daily {
                from: 2 * 60,
                to: 5 * 60,
            },
        }
    }
}
