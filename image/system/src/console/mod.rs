//! The console: what the box is and how it does, and the few things that a technician may do. There is no way from here to a
//! shell: there is none.

mod actions;
mod gather;
mod screen;

pub use self::{
    actions::{Action, perform},
    gather::gather,
    screen::{Health, Membership, View, render},
};
