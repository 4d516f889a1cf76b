//! Rooms across servers of one process: joins, invites, forks, gaps, and what hostile servers try.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod attacks;
mod convergence;
mod directory;
mod gaps;
mod history;
mod invites;
mod joins;
mod nation;
mod partial;
mod policy;
mod random;
