//! What web pages say of themselves, for users who ask: the only service of the box that fetches what a user names.
//!
//! So it trusts nothing. A name is resolved once, every address behind it must be a public one or in a network that the
//! site allows, and the connection goes to the address that was checked; a redirect is checked again. Pages and pictures
//! are bounded in size and time, no cookie is kept, no script is run, and who asks too often waits. Whether an address was
//! refused, closed or silent looks the same from outside: nobody maps the site's network with it.

mod address;
mod config;
mod encoding;
mod error;
mod fetch;
mod page;
mod picture;
mod previews;
mod quota;
#[cfg(test)]
mod tests;

pub use self::{
    config::Config,
    error::{Error, Result},
    picture::Picture,
    previews::{Preview, Previews},
};
pub use ipnet::IpNet;
