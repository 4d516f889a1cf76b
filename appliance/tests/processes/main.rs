//! Boxes as processes of their own, and what may happen to a process.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stderr, reason = "a test may say how much it did")]

mod boxes;
mod crash;
mod first_boot;
mod full_disk;
mod media;
mod retry;
