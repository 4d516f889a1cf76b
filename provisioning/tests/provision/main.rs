//! The authority and its repository, from the first key to the refusals of the boxes.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, though clippy does not see it"
)]

mod ceremony;
mod command_line;
mod malformed;
mod nation;
mod orders;
mod releases;
mod repository;
mod rotation;
