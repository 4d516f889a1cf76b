//! Thumbnails, made where hostile images can hurt nothing.
//!
//! Decoders are the part of a server that strangers' bytes exercise most. So each image is decoded in a process of its own,
//! the *worker*, which gives up everything but its two pipes before it reads a byte, has bounds on memory and time, and
//! ends after its one answer: no image sees what another left behind. [`Thumbnailer`] is the side of the box: it starts
//! workers, feeds them, distrusts their answers and ends those that run away. [`run_worker`] is the other side.

mod decode;
mod error;
mod sandbox;
mod thumbnail;
mod thumbnailer;
mod wire;
mod worker;

pub use self::{
    error::{Error, Failure, Result},
    sandbox::{Confinement, Landlock},
    thumbnail::{ImageType, Made, Method, Picture, Wanted},
    thumbnailer::{Config, Thumbnailer},
    worker::run as run_worker,
};
