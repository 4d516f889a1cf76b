//! A box that comes to life with a voucher, in one visit.

use std::{net::TcpListener, sync::Arc};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use luxchat_appliance::{data_dir::DataDir, enrolment, nation::Site};
use luxchat_bundle::{Serial, Voucher};
use luxchat_provision::{NewMember, VoucherPlan};
use luxchat_store::SystemClock;
use luxchat_testkit::{Client, Kit, PASSWORD};
use serde_json::json;

/// A ministry that is not founded with the others.
fn site(kit: &Kit, folder: &tempfile::TempDir) -> Result<Site> {
    let mut site = kit.nation().site("sante")?.clone();
    let port = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
    let (client, federation, admin) = (port()?, port()?, port()?);
    "finances".clone_into(&mut site.name);
    let config = &mut site.config;
    config.server_name = "finances.demo.lu".parse()?;
    "finances".clone_into(&mut config.display_name);
    config.data_dir = folder.path().join("finances");
    config.client.listen.set_port(client);
    config.client.public_url = format!("http://127.0.0.1:{client}/").parse()?;
    config.federation.listen.set_port(federation);
    config.federation.endpoints = vec![format!("127.0.0.1:{federation}").parse()?];
    config.admin.listen.set_port(admin);
    Ok(site)
}

/// Makes a voucher for that site and publishes.
async fn voucher(kit: &Kit, site: &Site) -> Result<Voucher> {
    let mut authority = kit.nation().authority()?;
    let plan = VoucherPlan {
        members: vec![NewMember {
            server_name: site.config.server_name.clone(),
            display_name: site.config.display_name.clone(),
            endpoints: site.config.federation.endpoints.clone(),
        }],
        uses: 1,
        days: 30,
    };
    let now = Timestamp::now();
    let voucher = authority.voucher(&plan, kit.nation().passphrase(), now)?;
    drop(authority);
    publish(kit).await?;
    Ok(voucher)
}

async fn publish(kit: &Kit) -> Result<()> {
    let (nation, now) = (kit.nation(), Timestamp::now());
    nation
        .authority()?
        .publish(&nation.publication(), nation.passphrase(), now)?;
    kit.running("directory")?.look_for_members().await?;
    for name in ["interieur", "sante"] {
        kit.running(name)?.look_for_members().await?;
    }
    Ok(())
}

/// An account on that box, logged in.
async fn agent(site: &Site, localpart: &str) -> Result<Client> {
    site.make_agent(localpart, PASSWORD).await?;
    Client::login(&site.base_url(), localpart, PASSWORD).await
}

async fn redeem(site: &Site, voucher: &Voucher) -> Result<luxchat_bundle::Enrolment> {
    let data = DataDir::open(&site.config.data_dir)?;
    let clock = Arc::new(SystemClock);
    enrolment::redeem(&site.config, &data, voucher.clone(), clock).await
}

/// The box makes its keys, the directory signs online, and the others let it in; until the voucher is revoked.
#[tokio::test]
async fn a_box_with_a_voucher_becomes_a_ministry_in_one_visit() -> Result<()> {
    let kit = Kit::start().await?;
    let folder = tempfile::tempdir()?;
    let site = site(&kit, &folder)?;
    let voucher = voucher(&kit, &site).await?;
    let answer = redeem(&site, &voucher).await?;
    // The answer was lost on the way: the same key is answered the same, and counted once.
    ensure!(redeem(&site, &voucher).await? == answer);
    let data = DataDir::open(&site.config.data_dir)?;
    enrolment::install(&site.config, &data, &answer, Timestamp::now())?;
    let finances = site.start(Arc::new(SystemClock)).await?;

    let alice = kit.agent("interieur", "alice").await?;
    let carol = agent(&site, "carol").await?;
    let parameters = json!({ "preset": "private_chat", "invite": [carol.user_id] });
    let room = alice.create_room(&parameters).await?;
    let invited = |sync: &serde_json::Value| sync["rooms"]["invite"].get(&room).map(drop);
    carol.sync_until(None, "the invitation", invited).await?;
    carol.join(&room, &["interieur.demo.lu"]).await?;
    carol.send_text(&room, "there", "Moien").await?;
    let arrived = |sync: &serde_json::Value| {
        luxchat_testkit::messages(sync, &room)
            .any(|event| event["content"]["body"] == "Moien")
            .then_some(())
    };
    alice.sync_until(None, "the message", arrived).await?;

    // A thief with a copy of the voucher has a key of his own.
    let elsewhere = tempfile::tempdir()?;
    let mut thief = site.clone();
    thief.config.data_dir = elsewhere.path().to_owned();
    let refusal = redeem(&thief, &voucher).await.unwrap_err().to_string();
    ensure!(refusal.contains("the voucher is used up"), "{refusal}");

    let id: Serial = voucher.details().id.clone();
    let mut authority = kit.nation().authority()?;
    authority.revoke_voucher(&id, "the stick is lost", Timestamp::now())?;
    drop(authority);
    publish(&kit).await?;
    let refusal = redeem(&thief, &voucher).await.unwrap_err().to_string();
    ensure!(refusal.contains("the voucher was revoked"), "{refusal}");
    let peers = kit.running("interieur")?.connected_peers();
    let cut = peers
        .iter()
        .all(|leaf| leaf.server_name.as_str() != "finances.demo.lu");
    ensure!(cut, "what came of the voucher still connects");
    let refusal = alice
        .invite(&room, "@dora:finances.demo.lu")
        .await
        .unwrap_err();
    ensure!(
        refusal.to_string().contains("403") || refusal.to_string().contains("502"),
        "{refusal}"
    );
    ensure!(finances.stop().await);
    Ok(())
}

/// Boxes that show no certificate and ask for anything but their enrolment are turned away as before.
#[tokio::test]
async fn a_voucher_is_for_its_names_and_its_directory() -> Result<()> {
    let kit = Kit::start().await?;
    let folder = tempfile::tempdir()?;
    let finances = site(&kit, &folder)?;
    let voucher = voucher(&kit, &finances).await?;
    let mut other = finances.clone();
    other.config.server_name = "budget.demo.lu".parse()?;
    let refusal = redeem(&other, &voucher).await.unwrap_err().to_string();
    ensure!(refusal.contains("not for budget.demo.lu"), "{refusal}");

    let mut moved = finances.clone();
    moved.config.federation.endpoints = vec!["127.0.0.1:1".parse()?];
    let refusal = redeem(&moved, &voucher).await.unwrap_err().to_string();
    ensure!(
        refusal.contains("the box's site file says 127.0.0.1:1"),
        "{refusal}"
    );
    Ok(())
}
