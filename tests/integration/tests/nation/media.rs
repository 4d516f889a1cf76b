//! Pictures between ministries.

use anyhow::Result;
use luxchat_testkit::Kit;

/// A file uploaded at one ministry is fetched by another once, and served there from its cache when the first is gone.
#[tokio::test]
async fn a_file_crosses_once_and_stays() -> Result<()> {
    let mut kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let picture: Vec<u8> = (0..3_000_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let seen = alice.upload("image/png", picture.clone()).await?;
    let unseen = alice.upload("image/png", vec![7; 100]).await?;
    assert!(seen.starts_with("mxc://interieur.demo.lu/"), "{seen}");
    assert!(alice.download(&seen).await? == picture);
    assert!(bob.download(&seen).await? == picture);
    assert!(bob.download(&format!("{seen}0")).await.is_err());

    kit.stop_box("interieur").await?;
    assert!(bob.download(&seen).await? == picture);
    assert!(bob.download(&unseen).await.is_err());
    Ok(())
}
