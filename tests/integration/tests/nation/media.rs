//! Pictures between ministries.

use anyhow::{Result, ensure};
use luxchat_testkit::Kit;
use reqwest::Method;
use serde_json::{Value, json};

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

/// What an operator withholds, nobody of that box gets any more, whoever sent it and under whatever address.
#[tokio::test]
async fn an_operator_withholds_a_picture() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let picture = b"a picture".to_vec();
    let first = alice.upload("image/png", picture.clone()).await?;
    let second = alice.upload("image/png", picture.clone()).await?;
    assert!(bob.download(&first).await? == picture);

    let operator = kit.operator("sante")?;
    let body = json!({ "target": first, "reason": "reported" });
    let sha256: String = operator
        .call(Method::POST, "/quarantine", Some(&body))
        .await?;
    for uri in [&first, &second] {
        let refused = bob.download(uri).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains("404")));
    }
    let refused = bob.upload("text/plain", picture.clone()).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("403")));
    // The other box decides for itself.
    assert!(alice.download(&first).await? == picture);
    let listed: Vec<Value> = operator
        .call(Method::GET, "/quarantine", None::<&()>)
        .await?;
    assert_eq!(listed[0]["sha256"], sha256);
    assert_eq!(listed[0]["reason"], "reported");

    let body = json!({ "target": sha256 });
    let _: String = operator
        .call(Method::DELETE, "/quarantine", Some(&body))
        .await?;
    assert!(bob.download(&second).await? == picture);

    // At home it is listed, and deleted.
    let operator = kit.operator("interieur")?;
    let path = format!("/users/{}/media", alice.user_id);
    let files: Vec<Value> = operator.call(Method::GET, &path, None::<&()>).await?;
    assert_eq!(files.len(), 2);
    let path = first.replace("mxc://", "/media/");
    let () = operator.call(Method::DELETE, &path, None::<&()>).await?;
    ensure!(alice.download(&first).await.is_err());
    assert!(alice.download(&second).await? == picture);
    let again = operator
        .call::<()>(Method::DELETE, &path, None::<&()>)
        .await;
    ensure!(again.is_err_and(|error| error.to_string().contains("no such media")));
    Ok(())
}
