//! Images that are made to hurt. Each costs its own request a clear error at most: the thumbnailer works on.

use image::ImageFormat;
use luxchat_thumbnailer::{Error, Failure, Method::Scale};

use super::*;

/// What may come of a hostile image.
#[derive(Debug)]
enum Expected {
    Failure(Failure),
    /// The first picture of it.
    Picture(u32, u32),
    /// Any of these: decoders differ in how much damage they put up with.
    Anything,
}

#[tokio::test]
async fn the_thumbnailer_survives_hostile_images() {
    use Expected::{Anything, Picture};
    let thumbnailer = thumbnailer();
    let damaged = || Expected::Failure(Failure::Damaged);
    let unsupported = || Expected::Failure(Failure::Unsupported);
    let too_large = || Expected::Failure(Failure::TooLarge);
    let jpeg = encode(&flag(800, 600), ImageFormat::Jpeg);
    let png = encode(&flag(800, 600), ImageFormat::Png);
    let webp = encode(&flag(800, 600), ImageFormat::WebP);
    let gif = animation(800, 600, 1);
    let half = |image: &[u8]| image[..image.len() / 2].to_vec();
    let corpus = [
        ("nothing", vec![], unsupported()),
        ("text", b"hello, world".to_vec(), unsupported()),
        (
            "a page",
            b"<html><script>alert(1)</script>".to_vec(),
            unsupported(),
        ),
        (
            "a vector graphic",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            unsupported(),
        ),
        ("a TIFF", b"II*\0\x08\0\0\0".to_vec(), unsupported()),
        (
            "a bitmap",
            [b"BM".to_vec(), vec![0; 60]].concat(),
            unsupported(),
        ),
        (
            "a PNG bomb of 4 gigapixels",
            png_bomb(65_535, 65_535),
            too_large(),
        ),
        (
            "a PNG with sides of 2^31",
            png_bomb(u32::MAX / 2, u32::MAX / 2),
            too_large(),
        ),
        (
            "a PNG longer than anything",
            png_bomb(1, 1_000_000),
            too_large(),
        ),
        (
            "a PNG bomb of 60 megapixels",
            png_bomb(10_000, 6_000),
            Picture(320, 192),
        ),
        ("a PNG of no size", png_bomb(0, 0), damaged()),
        ("a PNG that ends in its head", png[..20].to_vec(), damaged()),
        ("half a PNG", half(&png), damaged()),
        ("half a JPEG", half(&jpeg), Anything),
        ("half a WebP", half(&webp), Anything),
        ("half a GIF", half(&gif), Anything),
        (
            "a JPEG of 65535 x 65535",
            jpeg_of(&jpeg, 65_535, 65_535),
            too_large(),
        ),
        ("a JPEG of no size", jpeg_of(&jpeg, 0, 0), damaged()),
        (
            "a JPEG that is larger than its pixels",
            jpeg_of(&jpeg, 8000, 6000),
            Anything,
        ),
        (
            "a GIF of 65535 x 65535",
            gif_of(&gif, 65_535, 65_535),
            too_large(),
        ),
        ("a GIF of no size", gif_of(&gif, 0, 0), damaged()),
        ("a WebP of 16383 x 16383", webp_of(&webp), Anything),
        (
            "a GIF of 3000 pictures",
            animation(64, 48, 3000),
            Picture(64, 48),
        ),
        (
            "a WebP of 3000 pictures",
            moving_webp(3000),
            Picture(64, 48),
        ),
    ];
    for (what, image, expected) in corpus {
        let made = small(&thumbnailer, &image).await;
        match (expected, &made) {
            (Expected::Failure(expected), Err(Error::Image(failure))) if expected == *failure => {}
            (Picture(width, height), Ok(picture)) => {
                assert_eq!((picture.width, picture.height), (width, height), "{what}");
            }
            (Anything, Ok(_) | Err(Error::Image(_) | Error::Died(_))) => {}
            (expected, _) => panic!("{what}: {made:?} in place of {expected:?}"),
        }
    }
    assert!(small(&thumbnailer, &jpeg).await.is_ok());
}

#[tokio::test]
async fn noise_behind_a_good_beginning_hurts_nobody() {
    let thumbnailer = thumbnailer();
    let mut noise = Noise(1);
    let heads = [
        encode(&flag(64, 64), ImageFormat::Jpeg)[..20].to_vec(),
        encode(&flag(64, 64), ImageFormat::Png)[..33].to_vec(),
        encode(&flag(64, 64), ImageFormat::WebP)[..20].to_vec(),
        animation(64, 64, 1)[..13].to_vec(),
    ];
    for head in &heads {
        for length in [16, 4096, 65_536] {
            let image: Vec<u8> = head.iter().copied().chain(noise.bytes(length)).collect();
            let sizes = [wanted(320, 240, Scale)];
            let made = make(&thumbnailer, &image, &sizes).await;
            assert!(
                matches!(made, Ok(_) | Err(Error::Image(_) | Error::Died(_))),
                "{made:?}"
            );
        }
    }
    // Single bytes that are not what they were.
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let good = encode(&flag(64, 64), format);
        for _ in 0..10 {
            let mut bad = good.clone();
            for byte in noise.bytes(4) {
                let at = usize::from(byte) * good.len() / 256;
                bad[at] ^= byte | 1;
            }
            let made = make(&thumbnailer, &bad, &[wanted(32, 32, Scale)]).await;
            assert!(
                matches!(made, Ok(_) | Err(Error::Image(_) | Error::Died(_))),
                "{made:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_runs_away_is_ended() {
    let config = Config {
        time: Duration::from_millis(300),
        workers: 1,
        ..Config::new(program())
    };
    let slow = Thumbnailer::new(config);
    // The worker waits for bytes that never come: to the box, it runs and runs.
    let sizes = [wanted(32, 32, Scale)];
    let made = slow.make(stream::pending(), 1000, &sizes).await;
    assert_eq!(made, Err(Error::TooSlow(Duration::from_millis(300))));
}

/// A PNG of zeros, which compress to next to nothing. Beyond 100 million pixels there is but a little of them: nobody is to
/// get that far.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // 8 bits of grey.
    header.extend([8, 0, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(chunk(*b"IHDR", &header));
    let pixels = (u64::from(width) + 1).saturating_mul(u64::from(height));
    png.extend(chunk(*b"IDAT", &zlib_of_zeros(pixels.min(100_000_000))));
    png.extend(chunk(*b"IEND", &[]));
    png
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(data);
    let sum = crc32(&chunk[4..]);
    chunk.extend(sum.to_be_bytes());
    chunk
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

/// A zlib stream of at least `count` zeros: one literal, then copies of 258 bytes at distance 1, by the fixed codes.
fn zlib_of_zeros(count: u64) -> Vec<u8> {
    let copies = count.saturating_sub(1).div_ceil(258);
    let mut bits = Bits::default();
    // The last block, of fixed codes.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    // Literal 0: 00110000.
    bits.push_code(0b0011_0000, 8);
    for _ in 0..copies {
        // Length 258 is symbol 285: 11000101; distance 1 is symbol 0: 00000.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    let length = 1 + copies * 258;
    let mut stream = vec![0x78, 0x9c];
    stream.extend(bits.bytes);
    // Adler-32 of zeros: the first half stays 1, the second counts the bytes.
    let sum = (u32::try_from(length % 65_521).unwrap() << 16) | 1;
    stream.extend(sum.to_be_bytes());
    stream
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    /// Numbers go in from their lowest bit.
    fn push(&mut self, bits: u32, count: u32) {
        for at in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::try_from((bits >> at) & 1).unwrap();
            *self.bytes.last_mut().unwrap() |= bit << (self.used % 8);
            self.used += 1;
        }
    }

    /// Codes go in from their highest.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }
}

/// Another size in the head of the frame.
fn jpeg_of(jpeg: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]);
    let size = frame.unwrap() + 5;
    jpeg[size..size + 2].copy_from_slice(&height.to_be_bytes());
    jpeg[size + 2..size + 4].copy_from_slice(&width.to_be_bytes());
    jpeg
}

/// Another size of the screen and of the first picture.
fn gif_of(gif: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut gif = gif.to_vec();
    gif[6..8].copy_from_slice(&width.to_le_bytes());
    gif[8..10].copy_from_slice(&height.to_le_bytes());
    gif
}

/// The largest size that a lossless WebP can say.
fn webp_of(webp: &[u8]) -> Vec<u8> {
    let mut webp = webp.to_vec();
    let signature = webp
        .windows(5)
        .position(|part| part == b"VP8L\x2f".as_slice());
    let at = signature.map_or(21, |at| at + 9).min(webp.len() - 4);
    webp[at..at + 4].copy_from_slice(&0x0fff_ffff_u32.to_le_bytes());
    webp
}

/// An animated WebP that shows the same picture again and again.
fn moving_webp(frames: usize) -> Vec<u8> {
    let still = encode(&flag(64, 48), ImageFormat::WebP);
    let picture = &still[12..];
    let mut body = b"WEBP".to_vec();
    // Animated, without alpha; 64 x 48.
    riff(&mut body, *b"VP8X", &[2, 0, 0, 0, 63, 0, 0, 47, 0, 0]);
    riff(&mut body, *b"ANIM", &[0; 6]);
    let mut frame = vec![0, 0, 0, 0, 0, 0, 63, 0, 0, 47, 0, 0, 40, 0, 0, 0];
    frame.extend(picture);
    for _ in 0..frames {
        riff(&mut body, *b"ANMF", &frame);
    }
    let mut webp = Vec::new();
    riff(&mut webp, *b"RIFF", &body);
    webp
}

fn riff(out: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    out.extend(kind);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    if !data.len().is_multiple_of(2) {
        out.push(0);
    }
}

/// Bytes without meaning, the same in each run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = |_| {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.0.to_be_bytes()[0]
        };
        (0..count).map(next).collect()
    }
}
