// What a desktop client does all day, on matrix-js-sdk: log in by password, sync, thread, search, be notified.

import assert from "node:assert/strict";
import test from "node:test";
import {
    ConditionKind,
    EventType,
    KnownMembership,
    Method,
    MsgType,
    NotificationCountType,
    Preset,
    PushRuleActionName,
    PushRuleKind,
    RelationType,
    TweakName,
} from "matrix-js-sdk";
import { newDevice, serverFromEnvironment } from "./account.mjs";
import { eventually } from "./wait.mjs";

test("a conversation with threads, search and notifications", { timeout: 180_000 }, async (t) => {
    const options = { threadSupport: true };
    const alice = await newDevice(serverFromEnvironment("LUXCHAT_A"), "alice-js", options);
    t.after(() => alice.client.stopClient());
    const bob = await newDevice(serverFromEnvironment("LUXCHAT_B"), "bob-js", options);
    t.after(() => bob.client.stopClient());
    const { room_id: roomId } = await alice.client.createRoom({
        preset: Preset.PrivateChat,
        name: "The ferry",
        invite: [bob.userId],
    });
    await joined(bob.client, roomId, KnownMembership.Invite);
    await bob.client.joinRoom(roomId);
    const room = await joined(bob.client, roomId, KnownMembership.Join);
    assert.equal(room.name, "The ferry");

    let rootId;
    await t.test("messages arrive, once and in order", async () => {
        rootId = await say(alice.client, roomId, "When does the ferry leave?");
        await say(alice.client, roomId, "And is it punctual?");
        const bodies = await eventually("both messages arrive", () => {
            const said = room.getLiveTimeline().getEvents().filter((event) => event.getType() === EventType.RoomMessage);
            return said.length >= 2 && said.map((event) => event.getContent().body);
        });
        assert.deepEqual(bodies, ["When does the ferry leave?", "And is it punctual?"]);
    });

    await t.test("a thread is a conversation of its own", async () => {
        const answerId = await reply(bob.client, roomId, rootId, "At noon.");
        await reply(bob.client, roomId, rootId, "From the north pier.");
        const own = alice.client.getRoom(roomId);
        const thread = await eventually("the thread is complete", () => {
            const thread = own.getThread(rootId);
            return thread?.length === 2 && thread;
        });
        const bodies = await eventually("its replies are there", () => {
            const replies = thread.events.filter((event) => event.getId() !== rootId);
            return replies.length === 2 && replies.map((event) => event.getContent().body);
        });
        assert.deepEqual(bodies, ["At noon.", "From the north pier."]);
        const main = own.getLiveTimeline().getEvents();
        assert.ok(!main.some((event) => event.getId() === answerId), "a reply stands in the main timeline");

        // The server's own list of threads, and its unread count of this one.
        const { chunk } = await alice.client.createThreadListMessagesRequest(roomId, null);
        assert.deepEqual(chunk.map((event) => event.event_id), [rootId]);
        assert.equal(chunk[0].unsigned["m.relations"][RelationType.Thread].count, 2);
        const count = () => own.getThreadUnreadNotificationCount(rootId, NotificationCountType.Total);
        await eventually("the replies count as unread", () => count() === 2);
        await alice.client.sendReadReceipt(thread.events.at(-1));
        await eventually("the thread counts as read", () => count() === 0);
    });

    await t.test("what was said is found again", async () => {
        const found = await alice.client.searchRoomEvents({ term: "pier" });
        const bodies = found.results.map((result) => result.context.getEvent().getContent().body);
        assert.deepEqual(bodies, ["From the north pier."]);
        assert.equal(found.count, 1);
        const nothing = await alice.client.searchRoomEvents({ term: "submarine" });
        assert.deepEqual(nothing.results, []);
    });

    await t.test("push rules decide what counts", async () => {
        const counts = (kind) => room.getRoomUnreadNotificationCount(kind);
        await bob.client.sendReadReceipt(room.getLiveTimeline().getEvents().at(-1));
        await eventually("everything is read", () => counts(NotificationCountType.Total) === 0);
        await say(alice.client, roomId, "All aboard");
        await eventually("a message counts", () => counts(NotificationCountType.Total) === 1);
        assert.equal(counts(NotificationCountType.Highlight), 0);

        const rule = {
            actions: [PushRuleActionName.Notify, { set_tweak: TweakName.Highlight }],
            pattern: "lighthouse",
        };
        await bob.client.addPushRule("global", PushRuleKind.ContentSpecific, "lighthouse", rule);
        const { global } = await bob.client.getPushRules();
        assert.ok(global.content.some((known) => known.rule_id === "lighthouse" && known.enabled));
        await say(alice.client, roomId, "Mind the lighthouse");
        await eventually("the word highlights", () => counts(NotificationCountType.Highlight) === 1);
        assert.equal(counts(NotificationCountType.Total), 2);

        // A muted room counts nothing.
        const muted = {
            actions: [],
            conditions: [{ kind: ConditionKind.EventMatch, key: "room_id", pattern: roomId }],
        };
        await bob.client.addPushRule("global", PushRuleKind.Override, roomId, muted);
        const last = await say(alice.client, roomId, "The lighthouse is dark");
        await eventually("the last message arrives", () => room.findEventById(last));
        assert.equal(counts(NotificationCountType.Total), 0);
        assert.equal(counts(NotificationCountType.Highlight), 0);
        await bob.client.deletePushRule("global", PushRuleKind.Override, roomId);
        const newest = await say(alice.client, roomId, "Land in sight");
        await eventually("an unmuted room counts again", () => counts(NotificationCountType.Total) > 0);

        await bob.client.sendReadReceipt(room.findEventById(newest));
        await eventually("a receipt ends it", () => counts(NotificationCountType.Total) === 0);
        assert.equal(counts(NotificationCountType.Highlight), 0);
    });

    for (const device of [alice, bob]) {
        assert.deepEqual(device.complaints, [], "the SDK logged errors");
    }
});

/** Sends a text, and returns its event id. */
async function say(client, roomId, body) {
    const { event_id: eventId } = await client.sendTextMessage(roomId, body);
    return eventId;
}

/**
 * Sends a text into a thread, and returns its event id. Without the SDK's local echo: in threads it takes the echo that a
 * sync brings before the request is answered for an error of its own.
 */
async function reply(client, roomId, rootId, body) {
    const path = `/rooms/${encodeURIComponent(roomId)}/send/${EventType.RoomMessage}/${client.makeTxnId()}`;
    const relation = { rel_type: RelationType.Thread, event_id: rootId };
    const content = { msgtype: MsgType.Text, body, "m.relates_to": relation };
    const { event_id: eventId } = await client.http.authedRequest(Method.Put, path, undefined, content);
    return eventId;
}

/** Waits until the client's own membership is as expected, and returns the room. */
function joined(client, roomId, expected) {
    return eventually(`the room is there by ${expected}`, () => {
        const room = client.getRoom(roomId);
        return room?.getMyMembership() === expected && room;
    });
}
