//! Files and photographs.

use std::io::Cursor;

use anyhow::Result;
use bytes::Bytes;
use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder};
use rand::RngExt;

use super::Run;
use crate::{
    client::Client,
    connection::{Failure, Payload},
    drive::{Bounds, drive},
};

/// What a file is called in the results, and its length in bytes.
const SIZES: [(&str, usize); 2] = [("1mb", 1_000_000), ("20mb", 20_000_000)];

/// How many people send and look at files at a time.
const CONCURRENCY: usize = 10;

/// What is uploaded of each size at most, in bytes, before it is measured and then: the disk has to bear it.
const UNMEASURED_BYTES: usize = 500_000_000;
const MEASURED_BYTES: usize = 3_000_000_000;

/// Photographs whose thumbnails are measured, and those before them that are not.
const PHOTOGRAPHS: u64 = 30;
const UNMEASURED: u64 = 3;

/// Of a photograph, in pixels.
const WIDTH: u32 = 4000;
const HEIGHT: u32 = 3000;

/// Somebody with files.
struct User {
    client: Client,
    content: Bytes,
    /// Makes every file another one: no server may answer by what it has already.
    number: u64,
    /// The files on the server.
    files: Vec<String>,
}

impl User {
    fn next(&mut self) -> [u8; 8] {
        self.number = self.number.wrapping_add(1);
        self.number.to_be_bytes()
    }

    async fn upload_file(&mut self) -> Result<(), Failure> {
        let head = Bytes::copy_from_slice(&self.next());
        let file = Payload([head, self.content.slice(8..)]);
        let kind = "application/octet-stream";
        self.files = vec![self.client.upload(kind, file).await?];
        Ok(())
    }

    async fn download_file(&mut self) -> Result<(), Failure> {
        let file = self.files.first().ok_or(Failure::Incomplete("a file"))?;
        let length = self.client.download(file).await?;
        if length == self.content.len() as u64 {
            Ok(())
        } else {
            Err(Failure::Body)
        }
    }

    async fn upload_photograph(&mut self) -> Result<(), Failure> {
        // A comment right after the start of the image tells it from the others.
        let number = self.next();
        let start = [&[0xff, 0xd8, 0xff, 0xfe, 0, 10][..], &number].concat();
        let file = Payload([Bytes::from(start), self.content.slice(2..)]);
        self.files
            .push(self.client.upload("image/jpeg", file).await?);
        Ok(())
    }

    async fn look_at_photograph(&mut self) -> Result<(), Failure> {
        let photograph = self.files.pop();
        let photograph = photograph.ok_or(Failure::Incomplete("a photograph"))?;
        self.client.thumbnail(&photograph).await?;
        Ok(())
    }
}

impl Run<'_, '_> {
    pub(super) async fn upload(&mut self) -> Result<()> {
        for (name, length) in SIZES {
            let mut users = self.users(CONCURRENCY, noise(length)).await?;
            let (before, measured) = (self.warm_up(), self.bounds(CONCURRENCY));
            let before = at_most(before, UNMEASURED_BYTES, length);
            let measured = at_most(measured, MEASURED_BYTES, length);
            drive(&mut users, before, User::upload_file).await;
            let start = self.report.start()?;
            let record = drive(&mut users, measured, User::upload_file).await;
            let scenario = format!("upload-{name}");
            self.report
                .finish(&start, &scenario, CONCURRENCY, &record, None)?;
        }
        Ok(())
    }

    pub(super) async fn download(&mut self) -> Result<()> {
        for (name, length) in SIZES {
            let mut users = self.users(CONCURRENCY, noise(length)).await?;
            for user in &mut users {
                user.upload_file().await?;
            }
            let scenario = format!("download-{name}");
            self.measure(&scenario, CONCURRENCY, &mut users, User::download_file)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn thumbnail(&mut self) -> Result<()> {
        let mut users = self.users(1, photograph()?).await?;
        for user in &mut users {
            for _ in 0..UNMEASURED + PHOTOGRAPHS {
                user.upload_photograph().await?;
            }
        }
        let bounds = |operations_per_worker| Bounds {
            time: self.plan.time,
            operations_per_worker,
        };
        let (before, measured) = (bounds(UNMEASURED), bounds(PHOTOGRAPHS));
        drive(&mut users, before, User::look_at_photograph).await;
        let start = self.report.start()?;
        let record = drive(&mut users, measured, User::look_at_photograph).await;
        self.report.finish(&start, "thumbnail", 1, &record, None)?;

        // Some servers make thumbnails when they are asked for, some when they get the image.
        let both = async |user: &mut User| {
            user.upload_photograph().await?;
            user.look_at_photograph().await
        };
        let start = self.report.start()?;
        let record = drive(&mut users, measured, both).await;
        self.report
            .finish(&start, "upload-and-thumbnail", 1, &record, None)?;
        Ok(())
    }

    async fn users(&mut self, count: usize, content: Bytes) -> Result<Vec<User>> {
        let clients = self.accounts.clients(count).await?;
        let users = clients.into_iter().map(|client| User {
            client,
            content: content.clone(),
            // No two users, nor two runs, come near each other.
            number: rand::rng().random(),
            files: Vec::new(),
        });
        Ok(users.collect())
    }
}

/// Bounds within which everybody together sends no more bytes than these, in files of `length`.
fn at_most(bounds: Bounds, bytes: usize, length: usize) -> Bounds {
    let files = u64::try_from(bytes / length / CONCURRENCY).unwrap_or(u64::MAX);
    Bounds {
        operations_per_worker: bounds.operations_per_worker.min(files),
        ..bounds
    }
}

/// What nobody can compress.
fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    rand::rng().fill(&mut bytes);
    Bytes::from(bytes)
}

/// A JPEG of 12 megapixels with as much in it as in a photograph: shades, edges and grain.
fn photograph() -> Result<Bytes> {
    let mut grain = 1_u32;
    let image = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wave = |period: u32, at: u32| (at % period).abs_diff(period / 2) * 120 / period;
        let edge = if ((x / 37) ^ (y / 53)).is_multiple_of(8) {
            40
        } else {
            0
        };
        let light = 40 + wave(622, x) + wave(346, y) + edge + (grain >> 28);
        Rgb([light, 20 + light / 2, 250 - light]
            .map(|value| u8::try_from(value).unwrap_or(u8::MAX)))
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90))?;
    Ok(Bytes::from(bytes.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photograph_is_large_and_may_bear_a_comment() {
        let photograph = photograph().unwrap();
        assert!(
            (2_000_000..8_000_000).contains(&photograph.len()),
            "{}",
            photograph.len()
        );
        let start = [0xff, 0xd8, 0xff, 0xfe, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        let other = [&start[..], &photograph[2..]].concat();
        let image = image::load_from_memory(&other).unwrap();
        assert_eq!((image.width(), image.height()), (WIDTH, HEIGHT));
    }
}
