//! The worker: one image, one answer, and out.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use crate::{
    Failure, decode, sandbox,
    thumbnail::{Made, Wanted},
    wire,
};

/// The largest image that is read, in bytes.
pub(crate) const MAX_IMAGE: u64 = 64 * 1024 * 1024;

/// Runs a worker on standard input and output, from which there is no way back: everything else is given up.
///
/// To be called first of all in a process of its own, with one thread and without an environment.
pub fn run() -> ExitCode {
    let greeting = sandbox::enter();
    let mut output = io::stdout().lock();
    let confined = greeting.is_ok();
    let greeted = output
        .write_all(&wire::greeting(&greeting))
        .and_then(|()| output.flush());
    if greeted.is_err() || !confined {
        return ExitCode::FAILURE;
    }
    // A decoder that panics ends the process, and there is nobody to read what it would say.
    std::panic::set_hook(Box::new(|_| ()));
    match serve(&mut io::stdin().lock(), &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let (wanted, length) = wire::read_head(input)?;
    let answer = read_image(input, length)?
        .and_then(|image| within_bounds(decode::thumbnails(&image, &wanted)?, &wanted));
    output.write_all(&wire::answer(&answer))?;
    output.flush()
}

fn read_image(input: &mut impl Read, length: u64) -> io::Result<Result<Vec<u8>, Failure>> {
    if length > MAX_IMAGE {
        return Ok(Err(Failure::TooLarge));
    }
    let mut image = Vec::new();
    input.take(length).read_to_end(&mut image)?;
    if image.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Ok(image))
}

/// Several thumbnails of full size would be more than the box reads.
fn within_bounds(made: Vec<Made>, wanted: &[Wanted]) -> Result<Vec<Made>, Failure> {
    let sizes = made.iter().map(|made| match made {
        Made::Thumbnail(picture) => picture.bytes.len() as u64,
        Made::Original(_) => 0,
    });
    let heads = 32 * (wanted.len() as u64 + 1);
    if sizes.sum::<u64>() + heads > wire::MAX_ANSWER {
        return Err(Failure::TooLarge);
    }
    Ok(made)
}
