//! What box and worker say to each other over the worker's two pipes. Numbers are big-endian.
//!
//! The worker begins with a [`Greeting`], once it has given up everything else. The box asks with a head and the image:
//! count of sizes (1 byte); for each, width and height (4 bytes each) and method (1 byte); length of the image (8 bytes);
//! the image. The answer is one byte that is 0, or else why there is none, and for each size: 0, type, width, height,
//! length (4 bytes) and a picture; or 1 and the type of the original.

use std::io::{self, Read};

use crate::{
    Failure,
    sandbox::{Confinement, Landlock},
    thumbnail::{ImageType, Made, Method, Picture, Wanted},
};

/// How many thumbnails are made of an image at a time.
pub(crate) const MAX_WANTED: usize = 8;

/// The most bytes of all thumbnails of an answer together.
pub(crate) const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// How long a worker's account of what is wrong with the machine may be, in bytes.
const MAX_COMPLAINT: usize = 1024;

/// What a worker says first: how it is confined, or why it could not be.
pub(crate) type Greeting = Result<Confinement, String>;

/// The head of what the box asks; the image's `length` bytes follow.
pub(crate) fn head(wanted: &[Wanted], length: u64) -> Vec<u8> {
    let mut head = Vec::new();
    head.push(u8::try_from(wanted.len()).unwrap_or(u8::MAX));
    for wanted in wanted {
        head.extend(wanted.width.to_be_bytes());
        head.extend(wanted.height.to_be_bytes());
        head.push(match wanted.method {
            Method::Scale => 0,
            Method::Crop => 1,
        });
    }
    head.extend(length.to_be_bytes());
    head
}

/// Reads a head: the sizes, and the image's length.
pub(crate) fn read_head(input: &mut impl Read) -> io::Result<(Vec<Wanted>, u64)> {
    let count = usize::from(byte(input)?);
    if count > MAX_WANTED {
        return Err(nonsense());
    }
    let mut wanted = Vec::with_capacity(count);
    for _ in 0..count {
        wanted.push(Wanted {
            width: number(input)?.max(1),
            height: number(input)?.max(1),
            method: match byte(input)? {
                0 => Method::Scale,
                1 => Method::Crop,
                _ => return Err(nonsense()),
            },
        });
    }
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    Ok((wanted, u64::from_be_bytes(length)))
}

pub(crate) fn greeting(greeting: &Greeting) -> Vec<u8> {
    match greeting {
        Ok(confinement) => vec![match confinement.landlock {
            Landlock::Full => 0,
            Landlock::Partial => 1,
            Landlock::Missing => 2,
        }],
        Err(complaint) => {
            let complaint = &complaint[..complaint.floor_char_boundary(MAX_COMPLAINT)];
            [&[u8::MAX], complaint.as_bytes()].concat()
        }
    }
}

/// Reads a greeting; a complaint goes on to the end of the input.
pub(crate) fn read_greeting(input: &mut impl Read) -> io::Result<Greeting> {
    let landlock = match byte(input)? {
        0 => Landlock::Full,
        1 => Landlock::Partial,
        2 => Landlock::Missing,
        u8::MAX => {
            let mut complaint = Vec::new();
            input
                .take(MAX_COMPLAINT as u64)
                .read_to_end(&mut complaint)?;
            return Ok(Err(String::from_utf8_lossy(&complaint).into_owned()));
        }
        _ => return Err(nonsense()),
    };
    Ok(Ok(Confinement { landlock }))
}

pub(crate) fn answer(answer: &Result<Vec<Made>, Failure>) -> Vec<u8> {
    let made = match answer {
        Ok(made) => made,
        Err(Failure::Unsupported) => return vec![1],
        Err(Failure::Damaged) => return vec![2],
        Err(Failure::TooLarge) => return vec![3],
    };
    let mut bytes = vec![0];
    for made in made {
        match made {
            Made::Thumbnail(picture) => {
                bytes.extend([0, kind_byte(picture.kind)]);
                bytes.extend(picture.width.to_be_bytes());
                bytes.extend(picture.height.to_be_bytes());
                let length = u32::try_from(picture.bytes.len()).unwrap_or(u32::MAX);
                bytes.extend(length.to_be_bytes());
                bytes.extend(&picture.bytes);
            }
            Made::Original(kind) => bytes.extend([1, kind_byte(*kind)]),
        }
    }
    bytes
}

/// Reads the answer about `count` sizes. It comes from a process that may have been taken over by the image.
pub(crate) fn read_answer(
    mut input: &[u8],
    count: usize,
) -> io::Result<Result<Vec<Made>, Failure>> {
    let input = &mut input;
    let failure = match byte(input)? {
        0 => None,
        1 => Some(Failure::Unsupported),
        2 => Some(Failure::Damaged),
        3 => Some(Failure::TooLarge),
        _ => return Err(nonsense()),
    };
    let made = match failure {
        Some(failure) => Err(failure),
        None => Ok((0..count)
            .map(|_| read_made(input))
            .collect::<io::Result<_>>()?),
    };
    if !input.is_empty() {
        return Err(nonsense());
    }
    Ok(made)
}

fn read_made(input: &mut &[u8]) -> io::Result<Made> {
    let tag = byte(input)?;
    let kind = match byte(input)? {
        0 => ImageType::Jpeg,
        1 => ImageType::Png,
        2 => ImageType::WebP,
        _ => return Err(nonsense()),
    };
    match tag {
        0 => {
            let (width, height) = (number(input)?, number(input)?);
            let length = number(input)? as usize;
            let bytes = input.split_off(..length).ok_or_else(nonsense)?.to_vec();
            Ok(Made::Thumbnail(Picture {
                kind,
                width,
                height,
                bytes,
            }))
        }
        1 => Ok(Made::Original(kind)),
        _ => Err(nonsense()),
    }
}

fn kind_byte(kind: ImageType) -> u8 {
    match kind {
        ImageType::Jpeg => 0,
        ImageType::Png => 1,
        ImageType::WebP => 2,
    }
}

fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    Ok(u32::from_be_bytes(number))
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let wanted = [
            Wanted {
                width: 32,
                height: 48,
                method: Method::Crop,
            },
            Wanted {
                width: 800,
                height: 600,
                method: Method::Scale,
            },
        ];
        let asked = head(&wanted, 5);
        let understood = read_head(&mut asked.as_slice()).unwrap();
        assert_eq!(understood, (wanted.to_vec(), 5));

        let made = vec![
            Made::Original(ImageType::WebP),
            Made::Thumbnail(Picture {
                kind: ImageType::Png,
                width: 1,
                height: 2,
                bytes: vec![3, 4],
            }),
        ];
        for said in [Ok(made), Err(Failure::TooLarge)] {
            assert_eq!(read_answer(&answer(&said), 2).unwrap(), said);
        }
        let landlock = Landlock::Partial;
        for said in [Ok(Confinement { landlock }), Err("no seccomp".to_owned())] {
            let understood = read_greeting(&mut greeting(&said).as_slice());
            assert_eq!(understood.unwrap(), said);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let picture = |length: u32| {
            let mut bytes = vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
            bytes.extend(length.to_be_bytes());
            bytes.extend([7; 4]);
            bytes
        };
        assert!(read_answer(&picture(4), 1).unwrap().is_ok());
        for bad in [
            picture(5),
            picture(3),
            picture(u32::MAX),
            vec![],
            vec![0],
            vec![9],
            vec![0, 1, 3],
            vec![1, 0],
        ] {
            assert!(read_answer(&bad, 1).is_err(), "{bad:?}");
        }
        assert!(read_head(&mut [9; 100].as_slice()).is_err());
    }
}
