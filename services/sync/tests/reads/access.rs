//! Pages, contexts and members, and who may see them.

use luxchat_sync::{Error, Gaps, RelationFilter, RelationsRequest};
use ruma::{
    UserId,
    api::{
        Direction,
        client::{
            context::get_context, filter::LazyLoadOptions, membership::get_member_events,
            message::get_message_events, threads::get_threads,
        },
    },
    events::relation::RelationType,
};
use serde_json::json;

use crate::world::*;

async fn page(
    world: &World,
    user: &UserId,
    request: get_message_events::v3::Request,
) -> Result<get_message_events::v3::Response, Error> {
    let viewer = world.viewer(user).await;
    let page = world
        .sync
        .messages(viewer, request, RelationFilter::default(), Gaps::End)
        .await?;
    assert!(page.wants_backfill.is_none());
    Ok(page.response)
}

fn backward(from: Option<String>, limit: u32) -> get_message_events::v3::Request {
    let mut request = get_message_events::v3::Request::backward(the_room().to_owned());
    request.from = from;
    request.limit = limit.into();
    request
}

#[tokio::test]
async fn pages_lead_to_the_beginning_and_back() {
    let world = World::with_room().await;
    for number in 0..7 {
        world
            .message(the_room(), alice(), &number.to_string())
            .await;
    }
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let page = page(&world, alice(), backward(from, 5)).await.unwrap();
        seen.extend(bodies(&page.chunk));
        assert!(plain(&page.chunk)[0]["room_id"] == the_room().as_str());
        let Some(end) = page.end else { break };
        from = Some(end);
    }
    assert_eq!(seen.len(), 12);
    assert_eq!(seen[0], "6");
    assert_eq!(seen[11], "m.room.create");

    let mut forward = Vec::new();
    let mut request = get_message_events::v3::Request::forward(the_room().to_owned());
    loop {
        let page = page(&world, alice(), request.clone()).await.unwrap();
        forward.extend(bodies(&page.chunk));
        let Some(end) = page.end else { break };
        request.from = Some(end);
    }
    seen.reverse();
    assert_eq!(forward, seen);
}

#[tokio::test]
async fn a_filtered_page_says_where_the_room_goes_on() {
    let world = World::with_room().await;
    world.message(the_room(), alice(), "found").await;
    let mut request = backward(None, 50);
    request.filter.types = Some(vec!["m.room.message".to_owned()]);
    let first = page(&world, alice(), request.clone()).await.unwrap();
    assert_eq!(bodies(&first.chunk), ["found"]);
    request.from = first.end.clone();
    let second = page(&world, alice(), request).await.unwrap();
    assert!(second.chunk.is_empty() && second.end.is_none());
    let rest = page(&world, alice(), backward(first.end, 50))
        .await
        .unwrap();
    assert_eq!(bodies(&rest.chunk).last().unwrap(), "m.room.create");
}

#[tokio::test]
async fn missing_history_is_to_be_asked_for() {
    let world = World::with_room().await;
    world
        .put(Put {
            room: the_room(),
            sender: eve(),
            event_type: "m.room.message",
            state_key: None,
            content: json!({ "body": "after the gap" }),
            prev_events: vec!["$missing"],
        })
        .await;
    let viewer = world.viewer(alice()).await;
    let read = async |from, gaps| {
        let (viewer, request) = (viewer.clone(), backward(from, 50));
        let relations = RelationFilter::default();
        let page = world.sync.messages(viewer, request, relations, gaps).await;
        page.unwrap()
    };
    let page = read(None, Gaps::End).await;
    assert_eq!(bodies(&page.response.chunk), ["after the gap"]);
    assert!(page.wants_backfill.is_some());
    // Going on from there asks again, and goes on where nobody has what is missing.
    let again = read(page.response.end.clone(), Gaps::End).await;
    assert_eq!(again.wants_backfill, page.wants_backfill);
    assert!(again.response.chunk.is_empty() && again.response.end.is_some());
    let skipped = read(page.response.end, Gaps::Skip).await;
    assert!(skipped.wants_backfill.is_none());
    assert_eq!(
        bodies(&skipped.response.chunk).last().unwrap(),
        "m.room.create"
    );
}

#[tokio::test]
async fn strangers_read_nothing_and_leavers_what_they_saw() {
    let world = World::with_room().await;
    let stranger = page(&world, bob(), backward(None, 50)).await;
    assert!(matches!(stranger, Err(Error::Forbidden(_))));
    world.message(the_room(), alice(), "old").await;
    world.member(the_room(), alice(), bob(), "invite").await;
    let invited = page(&world, bob(), backward(None, 50)).await;
    assert!(matches!(invited, Err(Error::Forbidden(_))));
    world.member(the_room(), bob(), bob(), "join").await;
    world.member(the_room(), alice(), bob(), "ban").await;
    let secret = world.message(the_room(), alice(), "secret").await;
    let banned = page(&world, bob(), backward(None, 50)).await.unwrap();
    let banned = bodies(&banned.chunk);
    assert!(banned.contains(&"old".to_owned()));
    assert!(!banned.contains(&"secret".to_owned()));
    let viewer = world.viewer(bob()).await;
    let event = world
        .sync
        .event(viewer.clone(), the_room().to_owned(), secret)
        .await;
    assert!(matches!(event, Err(Error::NotFound(_))));
    let state = world
        .sync
        .state(viewer, the_room().to_owned())
        .await
        .unwrap();
    let own = plain(&state)
        .into_iter()
        .find(|event| event["state_key"] == bob().as_str());
    assert_eq!(own.unwrap()["content"]["membership"], "ban");

    // Nor does lazy loading tell them what became of those who spoke.
    let renamed = json!({ "membership": "join", "displayname": "Later" });
    let key = alice().as_str();
    world
        .state(the_room(), alice(), "m.room.member", key, renamed)
        .await;
    let mut request = backward(None, 50);
    request.filter.lazy_load_options = LazyLoadOptions::Enabled {
        include_redundant_members: false,
    };
    let lazy = page(&world, bob(), request).await.unwrap();
    let lazy = plain(&lazy.state);
    assert!(lazy.iter().any(|event| event["state_key"] == key));
    assert!(
        lazy.iter()
            .all(|event| event["content"]["displayname"] != "Later")
    );
}

#[tokio::test]
async fn joined_visibility_hides_what_was_before() {
    for (visibility, sees_old, sees_invited) in [
        ("joined", false, false),
        ("invited", false, true),
        ("shared", true, true),
        ("world_readable", true, true),
    ] {
        let world = World::new().await;
        world.room(the_room(), alice(), visibility).await;
        world.message(the_room(), alice(), "old").await;
        world.member(the_room(), alice(), bob(), "invite").await;
        world.message(the_room(), alice(), "since the invite").await;
        world.member(the_room(), bob(), bob(), "join").await;
        world.message(the_room(), alice(), "since the join").await;
        let seen = page(&world, bob(), backward(None, 50)).await.unwrap();
        let seen = bodies(&seen.chunk);
        let sees = |body: &str| seen.iter().any(|seen| seen == body);
        assert_eq!(sees("old"), sees_old, "{visibility}");
        assert_eq!(sees("since the invite"), sees_invited, "{visibility}");
        assert!(sees("since the join"), "{visibility}");
        let reader = page(&world, eve(), backward(None, 50)).await;
        assert_eq!(reader.is_ok(), visibility == "world_readable");
    }
}

#[tokio::test]
async fn an_event_has_a_context() {
    let world = World::with_room().await;
    world.message(the_room(), alice(), "a").await;
    let event_id = world.message(the_room(), alice(), "b").await;
    world.message(the_room(), alice(), "c").await;
    world.message(the_room(), alice(), "d").await;
    let mut request = get_context::v3::Request::new(the_room().to_owned(), event_id);
    request.limit = 2_u32.into();
    let viewer = world.viewer(alice()).await;
    let context = world
        .sync
        .context(viewer, request, RelationFilter::default())
        .await
        .unwrap();
    assert_eq!(bodies(&context.events_before), ["a"]);
    assert_eq!(bodies(&[context.event.unwrap()]), ["b"]);
    assert_eq!(bodies(&context.events_after), ["c"]);
    assert_eq!(context.state.len(), 5);
    // Both ends lead on.
    let before = page(&world, alice(), backward(context.start, 1))
        .await
        .unwrap();
    assert_eq!(bodies(&before.chunk), ["m.room.history_visibility"]);
    let mut after = get_message_events::v3::Request::forward(the_room().to_owned());
    after.from = context.end;
    let after = page(&world, alice(), after).await.unwrap();
    assert_eq!(bodies(&after.chunk), ["d"]);
}

#[tokio::test]
async fn members_are_told_as_they_are_and_as_they_were() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let then = world.position().await;
    world.member(the_room(), bob(), bob(), "leave").await;
    world.member(the_room(), eve(), eve(), "join").await;
    let viewer = world.viewer(alice()).await;
    let ask = |at: Option<String>, membership: Option<&str>, not: Option<&str>| {
        let mut request = get_member_events::v3::Request::new(the_room().to_owned());
        request.at = at;
        request.membership = membership.map(Into::into);
        request.not_membership = not.map(Into::into);
        let (sync, viewer) = (world.sync.clone(), viewer.clone());
        async move {
            let members = plain(&sync.members(viewer, request).await.unwrap());
            let mut members: Vec<_> = members
                .iter()
                .map(|event| event["state_key"].as_str().unwrap().to_owned())
                .collect();
            members.sort();
            members
        }
    };
    let (alice, bob, eve) = (alice().as_str(), bob().as_str(), eve().as_str());
    assert_eq!(ask(None, None, None).await, [alice, bob, eve]);
    assert_eq!(ask(None, Some("join"), None).await, [alice, eve]);
    assert_eq!(ask(None, None, Some("join")).await, [bob]);
    let then = Some(then.to_string());
    assert_eq!(ask(then, Some("join"), None).await, [alice, bob]);
    let joined = world
        .sync
        .joined_members(viewer, the_room().to_owned())
        .await;
    assert_eq!(joined.unwrap().len(), 2);
}

#[tokio::test]
async fn related_events_are_found_by_kind() {
    let world = World::with_room().await;
    let parent = world.message(the_room(), alice(), "parent").await;
    for (rel_type, body) in [("m.thread", "1"), ("m.annotation", "2"), ("m.thread", "3")] {
        let relation = json!({ "rel_type": rel_type, "event_id": parent });
        let content = json!({ "body": body, "m.relates_to": relation });
        world
            .event(the_room(), alice(), "m.room.message", content)
            .await;
    }
    let viewer = world.viewer(alice()).await;
    let mut request = RelationsRequest {
        room_id: the_room().to_owned(),
        event_id: parent,
        rel_type: None,
        event_type: None,
        from: None,
        to: None,
        dir: Direction::Backward,
        limit: Some(2_u32.into()),
    };
    let first = world
        .sync
        .relations(viewer.clone(), request.clone())
        .await
        .unwrap();
    assert_eq!(bodies(&first.chunk), ["3", "2"]);
    request.from = first.next_batch;
    let rest = world
        .sync
        .relations(viewer.clone(), request.clone())
        .await
        .unwrap();
    assert_eq!(bodies(&rest.chunk), ["1"]);
    assert!(rest.next_batch.is_none());
    request.from = None;
    request.rel_type = Some(RelationType::Thread);
    let threads = world.sync.relations(viewer, request).await.unwrap();
    assert_eq!(bodies(&threads.chunk), ["3", "1"]);
}

#[tokio::test]
async fn what_relates_to_an_event_is_summed_up_in_it() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let parent = world.message(the_room(), alice(), "parent").await;
    let relate = |sender: &'static UserId, rel_type: &str, body: &str| {
        let relation = json!({ "rel_type": rel_type, "event_id": parent });
        let content = json!({ "body": body, "m.relates_to": relation });
        world.event(the_room(), sender, "m.room.message", content)
    };
    relate(alice(), "m.replace", "edited").await;
    relate(alice(), "m.replace", "edited again").await;
    // Nobody edits for somebody else.
    relate(bob(), "m.replace", "forged").await;
    relate(bob(), "m.thread", "reply").await;
    let referring = relate(bob(), "m.reference", "see there").await;

    let event = |user: &'static UserId| {
        let (world, parent) = (&world, parent.clone());
        async move {
            let viewer = world.viewer(user).await;
            let event = world.sync.event(viewer, the_room().to_owned(), parent);
            plain(&[event.await.unwrap()]).remove(0)["unsigned"]["m.relations"].clone()
        }
    };
    let relations = event(alice()).await;
    assert_eq!(
        relations["m.replace"]["content"]["body"],
        json!("edited again")
    );
    assert_eq!(relations["m.thread"]["count"], 1);
    assert_eq!(
        relations["m.thread"]["latest_event"]["content"]["body"],
        "reply"
    );
    assert_eq!(relations["m.thread"]["current_user_participated"], true);
    assert_eq!(
        relations["m.reference"]["chunk"],
        json!([{ "event_id": referring }])
    );
}

#[tokio::test]
async fn threads_are_listed_by_their_newest_reply() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let first = world.message(the_room(), alice(), "first").await;
    let second = world.message(the_room(), alice(), "second").await;
    for (sender, root) in [(bob(), &second), (alice(), &first), (alice(), &first)] {
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        let content = json!({ "body": "reply", "m.relates_to": relation });
        world
            .event(the_room(), sender, "m.room.message", content)
            .await;
    }
    let mut request = get_threads::v1::Request::new(the_room().to_owned());
    request.limit = Some(1_u32.into());
    let viewer = world.viewer(alice()).await;
    let page = world
        .sync
        .threads(viewer.clone(), request.clone())
        .await
        .unwrap();
    assert_eq!(bodies(&page.chunk), ["first"]);
    request.from = page.next_batch;
    let page = world.sync.threads(viewer, request.clone()).await.unwrap();
    assert_eq!(bodies(&page.chunk), ["second"]);
    assert!(page.next_batch.is_none());

    request.from = None;
    request.include = get_threads::v1::IncludeThreads::Participated;
    let viewer = world.viewer(bob()).await;
    let page = world.sync.threads(viewer, request).await.unwrap();
    assert_eq!(bodies(&page.chunk), ["second"]);
}
