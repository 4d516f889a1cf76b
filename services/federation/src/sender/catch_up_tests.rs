//! A peer that was away for long.

use ruma::user_id;

use super::tests::{Fixture, ROOM, eventually, failures, join, peer};

const OTHER: &str = "!other:own.lu";

/// A peer that shares two rooms and is away while 600 messages are said in one and then 10 in the other.
async fn away() -> (Fixture, super::tests::Run) {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    run.store
        .write(|tx| join(tx, OTHER, user_id!("@theirs:peer.lu")))
        .await
        .unwrap();
    fixture.send_messages_to(OTHER, &run.store, 600).await;
    fixture.send_messages_to(ROOM, &run.store, 10).await;
    eventually(async || failures(&run.store).await > 0).await;
    (fixture, run)
}

#[tokio::test]
async fn rooms_come_one_by_one_the_newest_first_and_nothing_is_missing() {
    let (fixture, run) = away().await;
    fixture.peer_up();
    run.federation.wake(peer());
    let received = &fixture.received;
    eventually(async || received.messages().concat().len() >= 610).await;
    let expected: Vec<u64> = (600..610).chain(0..600).collect();
    assert_eq!(received.messages().concat(), expected);

    // From now on everything comes in its order again, and nothing comes twice.
    fixture.send_messages_to(OTHER, &run.store, 2).await;
    fixture.send_messages_to(ROOM, &run.store, 2).await;
    eventually(async || received.messages().concat().len() >= 614).await;
    let all = received.messages().concat();
    assert_eq!(all[610..], [610, 611, 612, 613]);
    run.crash().await;
}

#[tokio::test]
async fn who_stumbles_on_the_way_hears_it_all() {
    let (fixture, run) = away().await;
    fixture
        .received
        .stumbles
        .store(true, std::sync::atomic::Ordering::SeqCst);
    fixture.peer_up();
    let received = &fixture.received;
    let heard = || {
        let mut heard = received.messages().concat();
        heard.sort_unstable();
        heard.dedup();
        heard.len()
    };
    eventually(async || {
        run.federation.wake(peer());
        // Every other transaction is answered with an error: the rest is tried again once it is due.
        if received.messages().len() > 2 {
            let stumbles = &received.stumbles;
            stumbles.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        heard() == 610
    })
    .await;
    eventually(async || failures(&run.store).await == 0).await;
    run.crash().await;
}
