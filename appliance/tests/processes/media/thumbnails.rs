//! The box starts itself to decode images.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use image::{DynamicImage, ImageFormat, RgbImage};
use luxchat_admin_api::Status;
use luxchat_appliance::operator::Operator;
use reqwest::Method;

use super::nation;
use crate::boxes::{BoxProcess, agent};

#[tokio::test]
async fn a_box_makes_thumbnails_in_processes_that_are_confined() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nation = nation(folder.path(), "")?;
    let mut interieur = BoxProcess::new(&nation, folder.path(), "interieur")?;
    interieur.start_and_wait().await?;
    let socket = nation.site("interieur")?.config.data_dir.join("admin.sock");
    let operator = Operator::new(socket)?;
    let status: Status = operator.call(Method::GET, "/status", None::<&()>).await?;
    let confined = &status.media.thumbnails;
    ensure!(confined.starts_with("confined by seccomp"), "{confined}");

    let alice = agent(&nation, "interieur", "alice").await?;
    let image = RgbImage::from_fn(1200, 900, |x, y| {
        image::Rgb([x, y, 9].map(|value| u8::try_from(value % 256).unwrap()))
    });
    let mut jpeg = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image).write_to(&mut jpeg, ImageFormat::Jpeg)?;
    let uri = alice.upload("image/jpeg", jpeg.into_inner()).await?;
    let path = uri.strip_prefix("mxc://").context("an mxc:// address")?;
    let thumbnail = alice
        .fetch(&format!(
            "/_matrix/client/v1/media/thumbnail/{path}?width=96&height=96&method=crop"
        ))
        .await?;
    let thumbnail = image::load_from_memory(&thumbnail)?;
    ensure!((thumbnail.width(), thumbnail.height()) == (96, 96));

    // What is no image costs this request an error, and the box nothing.
    let page = alice.upload("image/png", b"<html>".to_vec()).await?;
    let page = page.strip_prefix("mxc://").context("an mxc:// address")?;
    let path = format!("/_matrix/client/v1/media/thumbnail/{page}?width=96&height=96");
    let refused = alice.call(Method::GET, &path, None).await;
    let refused = refused.err().context("it is no image")?.to_string();
    ensure!(refused.contains("400 Bad Request M_UNKNOWN"), "{refused}");
    Ok(())
}
