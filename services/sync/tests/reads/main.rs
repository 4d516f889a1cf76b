//! What clients read, on stores filled by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod access;
mod incremental;
mod membership;
mod receipts;
mod replay;
mod sliding;
mod sliding_replay;
mod state;
mod typing;
mod world;
