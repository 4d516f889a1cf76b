//! Rooms across servers of one process: joins, invites, forks, gaps, and what hostile servers try.

mod attacks;
mod convergence;
mod gaps;
mod history;
mod invites;
mod joins;
mod nation;
