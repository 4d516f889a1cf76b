// Two people on two homeservers exchange encrypted messages, both on matrix-js-sdk.

import assert from "node:assert/strict";
import test from "node:test";
import { ClientEvent, KnownMembership, MatrixEventEvent, Preset } from "matrix-js-sdk";
import { newDevice, serverFromEnvironment } from "./account.mjs";

const PATIENCE_MS = 30_000;

test("an encrypted exchange across two ministries", { timeout: 120_000 }, async (t) => {
    const alice = await newDevice(serverFromEnvironment("LUXCHAT_A"), "alice-js");
    t.after(() => alice.client.stopClient());
    const bob = await newDevice(serverFromEnvironment("LUXCHAT_B"), "bob-js");
    t.after(() => bob.client.stopClient());

    const { room_id: roomId } = await alice.client.createRoom({
        preset: Preset.PrivateChat,
        invite: [bob.userId],
        initial_state: [
            {
                type: "m.room.encryption",
                state_key: "",
                content: { algorithm: "m.megolm.v1.aes-sha2" },
            },
        ],
    });
    await membership(bob.client, roomId, bob.userId, KnownMembership.Invite);
    await bob.client.joinRoom(roomId);
    await membership(alice.client, roomId, bob.userId, KnownMembership.Join);
    await membership(bob.client, roomId, bob.userId, KnownMembership.Join);

    await exchange(alice, bob, roomId, "Is the crossing open?");
    await exchange(bob, alice, roomId, "Since this morning.");
    await exchange(alice, bob, roomId, "Then I shall take it.");

    for (const device of [alice, bob]) {
        assert.deepEqual(device.complaints, [], "the SDK logged errors");
    }
});

/** Sends a text and checks that the other side decrypts it. */
async function exchange(from, to, roomId, body) {
    const heard = decrypted(to.client, roomId, from.userId, body);
    await from.client.sendTextMessage(roomId, body);
    const event = await heard;
    assert.ok(event.isEncrypted(), "the message came in the clear");
    assert.equal(event.getWireType(), "m.room.encrypted");
}

function decrypted(client, roomId, sender, body) {
    return eventually(`${sender} is heard saying ${JSON.stringify(body)}`, (found, failed) => {
        const onDecrypted = (event) => {
            if (event.getRoomId() !== roomId || event.getSender() !== sender) return;
            if (event.isDecryptionFailure()) failed(new Error("an event arrived before its key"));
            if (event.getContent().body === body) found(event);
        };
        client.on(MatrixEventEvent.Decrypted, onDecrypted);
        return () => client.off(MatrixEventEvent.Decrypted, onDecrypted);
    });
}

/** Waits until `client` sees that membership of `userId`. */
function membership(client, roomId, userId, expected) {
    return eventually(`${userId} is in ${roomId} by ${expected}`, (found) => {
        const look = () => {
            const member = client.getRoom(roomId)?.getMember(userId);
            if (member?.membership === expected) found(member);
        };
        look();
        client.on(ClientEvent.Sync, look);
        return () => client.off(ClientEvent.Sync, look);
    });
}

/** Runs `watch(found, failed)` until either is called or patience ends; `watch` returns how to stop it. */
async function eventually(what, watch) {
    let stop;
    let timer;
    try {
        return await new Promise((found, failed) => {
            timer = setTimeout(() => failed(new Error(`did not happen: ${what}`)), PATIENCE_MS);
            stop = watch(found, failed);
        });
    } finally {
        clearTimeout(timer);
        stop?.();
    }
}
