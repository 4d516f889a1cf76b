//! What a box tells its operator of itself.

use anyhow::{Context, Result, ensure};
use http::Method;
use luxchat_admin_api::Status;
use luxchat_appliance::{data_dir::DataDir, nation::Site};
use luxchat_store::{Config, NewPartialRoom, Store};
use luxchat_testkit::Kit;
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use serde_json::json;

/// As if the box, which is stopped, had joined its room through another server that did not tell the members since.
async fn take_members_away(site: &Site, room: &RoomId, user: &UserId) -> Result<()> {
    let data = DataDir::open(&site.config.data_dir)?;
    let name = ServerName::parse(site.config.server_name.as_str())?;
    let store = Store::open(Config::new(data.database(), name))?;
    let retry_ts = store.clock().now_ms() + 30 * 60 * 1000;
    let (room, user) = (room.to_owned(), user.to_owned());
    let written = store.write(move |tx| {
        let room = tx.room_by_id(&room)?.expect("the room is there").nid;
        let user = tx.user_nid(&user)?.expect("the user is there");
        let member = tx.member(room, user)?.expect("the user is in the room");
        tx.begin_partial(NewPartialRoom {
            room,
            join: member.event,
            from: tx.position()?,
            via: ruma::server_name!("sante.demo.lu"),
            servers: &[],
        })?;
        tx.put_off_partial(room, retry_ts, "no answer")
    });
    Ok(written.await?)
}

#[tokio::test]
async fn rooms_that_lack_members_are_counted() -> Result<()> {
    let mut kit = Kit::start().await?;
    let alice = kit.agent("interieur", "alice").await?;
    let room = alice.create_room(&json!({})).await?;
    kit.stop_box("interieur").await?;
    let site = kit.nation().site("interieur")?;
    let (room, user) = (OwnedRoomId::try_from(room)?, UserId::parse(&alice.user_id)?);
    take_members_away(site, &room, &user).await?;
    kit.start_box("interieur").await?;

    let operator = kit.operator("interieur")?;
    let status: Status = operator.call(Method::GET, "/status", None::<&()>).await?;
    let incomplete = status.incomplete_rooms;
    ensure!((incomplete.rooms, incomplete.failing) == (1, 1));
    let address = kit.running("interieur")?.admin_address();
    let metrics = reqwest::get(format!("http://{address}/metrics")).await?;
    let metrics = metrics.text().await?;
    for line in [
        "luxchat_rooms_incomplete 1",
        "luxchat_rooms_incomplete_failing 1",
    ] {
        let found = metrics.lines().find(|found| *found == line);
        found.with_context(|| format!("no {line} in {metrics}"))?;
    }
    Ok(())
}
