"""What two federating servers owe each other. Each check takes the server that acts first and the other one."""

import base64
import time

from matrix import CLIENT, Refused, User, peers, quote

VERSIONS = ["6", "10", "11", "12"]
# More than the events that come with a join, or that a server asks for at a time.
HISTORY = 45
MISSED = 60


def checks():
    """Name and function of each."""
    for version in VERSIONS:
        yield f"a public room of version {version}", lambda a, b, v=version: public_room(a, b, v)
        yield f"a private room of version {version}", lambda a, b, v=version: private_room(a, b, v)
    for old, new in (("6", "10"), ("10", "11"), ("11", "12")):
        yield f"an upgrade from {old} to {new}", lambda a, b, o=old, n=new: upgrade(a, b, o, n)
    for version in ("7", "10", "12"):
        yield f"a knock in version {version}", lambda a, b, v=version: knock(a, b, v)
    for version in ("8", "10", "12"):
        yield f"a restricted room of version {version}", lambda a, b, v=version: restricted(a, b, v)
    yield "aliases, directory and profiles", directory
    yield "typing, receipts and presence", ephemeral
    yield "device lists, keys and to-device messages", devices
    yield "media", media
    yield "events that passed each other", concurrent


def public_room(first, second, version):
    """Made on one server, joined from the other: history, messages, state, redactions, bans."""
    alice, bob = User(first, "alice"), User(second, "bob")
    room = alice.create_room(version, name="Public")
    before = [f"before {number}" for number in range(HISTORY)]
    for text in before:
        alice.say(room, text)
    bob.join(room, first)
    assert bob.history(room) == before, bob.history(room)

    bob.say(room, "from bob")
    alice.hears(room, "from bob")
    mistake = alice.say(room, "from alice")
    bob.hears(room, "from alice")
    create = bob.state(room, "m.room.create")
    assert create["room_version"] == version, create

    alice.room("PUT", room, f"redact/{quote(mistake)}/1", {"reason": "mistake"})
    bob.sees("the redaction", lambda seen: seen.of_room(room, "m.room.redaction"))
    event = bob.room("GET", room, f"event/{quote(mistake)}")
    assert event["content"] == {} and "redacted_because" in event["unsigned"], event

    levels = alice.state(room, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), bob.id: 50}
    alice.set_state(room, "m.room.power_levels", levels)
    peers.wait_until("bob's power", lambda: bob.id in bob.state(room, "m.room.power_levels").get("users", {}))
    bob.set_state(room, "m.room.topic", {"topic": "set from afar"})
    peers.wait_until("the topic", lambda: alice.state(room, "m.room.topic"))

    alice.room("POST", room, "ban", {"user_id": bob.id})
    bob.sees("the ban", lambda seen: room in seen.left)
    refused(lambda: bob.say(room, "all the same"))
    refused(lambda: bob.join(room, first))
    alice.room("POST", room, "unban", {"user_id": bob.id})
    peers.wait_until("bob is let in again", lambda: joins(bob, room, first))
    bob.say(room, "back again")
    alice.hears(room, "back again")
    assert "from bob" in bob.history(room)


def private_room(first, second, version):
    """Invitations across: one refused, one accepted; leaving, kicking, coming back."""
    alice, bob, carol = User(first, "alice"), User(second, "bob"), User(second, "carol")
    room = alice.create_room(version, preset="private_chat", name="Private", invite=[bob.id])
    alice.say(room, "for members")
    bob.sees("the invitation", lambda seen: room in seen.invited)
    names = [it["content"] for it in bob.seen.invited[room] if it["type"] == "m.room.name"]
    assert names == [{"name": "Private"}], bob.seen.invited[room]
    bob.room("POST", room, "leave")
    peers.wait_until("the refusal", lambda: alice.membership(room, bob.id) == "leave")
    refused(lambda: bob.join(room, first))

    for guest in (bob, carol):
        alice.room("POST", room, "invite", {"user_id": guest.id})
        guest.sees("the invitation", lambda seen, it=guest: room in it.seen.invited)
        peers.wait_until("the guest is in", lambda it=guest: joins(it, room, first))
        peers.wait_until("the join is seen", lambda it=guest: alice.membership(room, it.id) == "join")
    bob.say(room, "thanks")
    for other in (alice, carol):
        other.hears(room, "thanks")
    assert "for members" in bob.history(room), bob.history(room)

    alice.room("POST", room, "kick", {"user_id": carol.id})
    carol.sees("the kick", lambda seen: room in seen.left)
    bob.room("POST", room, "leave")
    peers.wait_until("bob's leave", lambda: alice.membership(room, bob.id) == "leave")
    alice.room("POST", room, "invite", {"user_id": bob.id})
    peers.wait_until("bob is back", lambda: joins(bob, room, first))
    alice.say(room, "welcome back")
    bob.hears(room, "welcome back")


def upgrade(first, second, old, new):
    alice, bob = User(first, "alice"), User(second, "bob")
    room = alice.create_room(old, name="Old")
    bob.join(room, first)
    replacement = alice.room("POST", room, "upgrade", {"new_version": new})["replacement_room"]
    tombstone = peers.wait_until("the tombstone", lambda: bob.state(room, "m.room.tombstone"))
    assert tombstone["replacement_room"] == replacement, tombstone
    bob.join(replacement, first)
    create = bob.state(replacement, "m.room.create")
    assert create["room_version"] == new and create["predecessor"]["room_id"] == room, create
    assert bob.state(replacement, "m.room.name") == {"name": "Old"}
    bob.say(replacement, "in the new room")
    alice.hears(replacement, "in the new room")


def knock(first, second, version):
    alice, bob = User(first, "alice"), User(second, "bob")
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = alice.create_room(version, preset="private_chat", initial_state=[rule])
    via = f"?server_name={quote(first.server_name)}&via={quote(first.server_name)}"
    bob.call("POST", f"{CLIENT}/knock/{quote(room)}{via}", {"reason": "may I?"})
    peers.wait_until("the knock", lambda: alice.membership(room, bob.id) == "knock")
    alice.room("POST", room, "invite", {"user_id": bob.id})
    bob.sees("the invitation", lambda seen: room in seen.invited)
    bob.join(room, first)
    bob.say(room, "let in")
    alice.hears(room, "let in")


def restricted(first, second, version):
    """Who is in one room may join the other."""
    alice, bob, carol = User(first, "alice"), User(second, "bob"), User(second, "carol")
    space = alice.create_room(version, name="Space")
    allow = [{"type": "m.room_membership", "room_id": space}]
    content = {"join_rule": "restricted", "allow": allow}
    rule = {"type": "m.room.join_rules", "state_key": "", "content": content}
    room = alice.create_room(version, preset="private_chat", initial_state=[rule])
    refused(lambda: bob.join(room, first))
    bob.join(space, first)
    bob.join(room, first)
    bob.say(room, "by way of the space")
    alice.hears(room, "by way of the space")
    refused(lambda: carol.join(room, first))


def directory(first, second):
    """What one server says of itself to users of the other."""
    alice, bob = User(first, "alice"), User(second, "bob")
    localpart = f"hall-{alice.id[7:20].partition(':')[0]}"
    room = alice.create_room("10", name="Hall", room_alias_name=localpart, visibility="public")
    alias = f"#{localpart}:{first.server_name}"
    found = bob.call("GET", f"{CLIENT}/directory/room/{quote(alias)}")
    assert found["room_id"] == room and first.server_name in found["servers"], found
    assert bob.join(alias, second) == room
    alice.call("PUT", f"{CLIENT}/profile/{quote(alice.id)}/displayname", {"displayname": "Alice"})
    profile = bob.call("GET", f"{CLIENT}/profile/{quote(alice.id)}")
    assert profile.get("displayname") == "Alice", profile
    peers.wait_until(
        "the name in the room",
        lambda: bob.state(room, "m.room.member", alice.id).get("displayname") == "Alice",
    )
    page = bob.call("GET", f"{CLIENT}/publicRooms?server={quote(first.server_name)}&limit=100")
    assert any(it["room_id"] == room and it.get("name") == "Hall" for it in page["chunk"]), page


def ephemeral(first, second):
    alice, bob = User(first, "alice"), User(second, "bob")
    room = alice.create_room("11")
    bob.join(room, first)
    bob.sees("the room", lambda seen: seen.events.get(room))
    for one, other in ((alice, bob), (bob, alice)):
        one.room("PUT", room, f"typing/{quote(one.id)}", {"typing": True, "timeout": 20000})
        other.sees("typing", lambda seen, it=one: it.id in seen.typing(room))
        one.room("PUT", room, f"typing/{quote(one.id)}", {"typing": False})
        other.sees("no more typing", lambda seen, it=one: it.id not in seen.typing(room))
        event = one.say(room, f"read this, says {one.id}")
        other.hears(room, f"read this, says {one.id}")
        other.room("POST", room, f"receipt/m.read/{quote(event)}")
        one.sees("the receipt", lambda seen, it=other, at=event: seen.receipt(room, at, it.id))
        path = f"{CLIENT}/presence/{quote(one.id)}/status"
        one.call("PUT", path, {"presence": "unavailable", "status_msg": "at lunch"})
        other.sees("presence", lambda seen, it=one: seen.presence.get(it.id) == "unavailable")


def devices(first, second):
    """The keys of one server's users for the other's, and messages from device to device."""
    alice, bob = User(first, "alice"), User(second, "bob")
    room = alice.create_room("10")
    bob.join(room, first)
    alice.sees("bob's join", lambda seen: alice.membership(room, bob.id) == "join")
    bob.sync()
    for one, other in ((alice, bob), (bob, alice)):
        keys = {"algorithms": ["m.olm.v1.curve25519-aes-sha2"], "device_id": one.device, "user_id": one.id}
        signatures = {one.id: {f"ed25519:{one.device}": unpadded("signature")}}
        keys |= {"keys": {f"ed25519:{one.device}": unpadded("key")}, "signatures": signatures}
        once = {
            f"signed_curve25519:{number}": {"key": unpadded(number), "signatures": signatures} for number in "AB"
        }
        # Who never asked for a list is not told of it again.
        other.call("POST", f"{CLIENT}/keys/query", {"device_keys": {one.id: []}})
        one.call("POST", f"{CLIENT}/keys/upload", {"device_keys": keys, "one_time_keys": once})
        other.sees("the new keys", lambda seen, it=one: it.id in seen.devices_changed)

        def queried(asked=other, of=one):
            answer = asked.call("POST", f"{CLIENT}/keys/query", {"device_keys": {of.id: []}})
            return answer["device_keys"].get(of.id, {}).get(of.device)

        found = peers.wait_until("the keys", queried)
        assert found["keys"] == keys["keys"], found
        wanted = {"one_time_keys": {one.id: {one.device: "signed_curve25519"}}}
        claimed = [
            other.call("POST", f"{CLIENT}/keys/claim", wanted)["one_time_keys"][one.id][one.device]
            for _ in range(2)
        ]
        given = {name: key for it in claimed for name, key in it.items()}
        assert {name: it["key"] for name, it in given.items()} == {
            name: it["key"] for name, it in once.items()
        }, claimed
        messages = {one.id: {one.device: {"hello": other.id}}}
        other.call("PUT", f"{CLIENT}/sendToDevice/lu.test/{other.device}", {"messages": messages})
        one.sees("the message", lambda seen: seen.to_device)
        assert one.seen.to_device[0]["content"] == {"hello": other.id}, one.seen.to_device

    # A device that goes is told of as well.
    alice.call("POST", f"{CLIENT}/logout")
    bob.seen.devices_changed.clear()
    bob.sees("the device gone", lambda seen: alice.id in seen.devices_changed)
    answer = bob.call("POST", f"{CLIENT}/keys/query", {"device_keys": {alice.id: []}})
    assert not answer["device_keys"].get(alice.id), answer


def media(first, second):
    alice, bob = User(first, "alice"), User(second, "bob")
    data = bytes(range(256)) * 4096
    uri = alice.upload(data, "application/octet-stream")
    assert bob.download(uri) == data
    refused(lambda: bob.download(uri[:-4] + "none"))


def concurrent(first, second):
    """Both speak, and set the same state again and again at the same time: they must agree in the end."""
    for version in VERSIONS:
        alice, bob = User(first, "alice"), User(second, "bob")
        room = alice.create_room(version, power_level_content_override={"events": {"m.room.topic": 0}})
        bob.join(room, first)
        for number in range(8):
            alice.set_state(room, "m.room.topic", {"topic": f"alice {number}"})
            bob.set_state(room, "m.room.topic", {"topic": f"bob {number}"})
            alice.say(room, f"alice says {number}")
            bob.say(room, f"bob says {number}")
        said = [f"{name} says {number}" for name in ("alice", "bob") for number in range(8)]
        for user in (alice, bob):
            peers.wait_until(
                f"all that {user.id} should have heard",
                lambda it=user, where=room: sorted(it.history(where)) == sorted(said),
            )
        # What both build upon settles it.
        alice.say(room, "settled")
        bob.hears(room, "settled")

        def agree(one=alice, other=bob, where=room):
            topics = [it.state(where, "m.room.topic") for it in (one, other)]
            return topics[0] == topics[1]

        peers.wait_until(f"one topic in version {version}", agree)


def across_a_restart(down, up, how):
    """What is said while a server is down arrives when it is up again, and what it said before is still known."""
    alice, bob = User(up, "alice"), User(down, "bob")
    room = alice.create_room("11")
    bob.join(room, up)
    bob.say(room, "before the stop")
    alice.hears(room, "before the stop")
    down.stop(how)
    missed = [f"missed {number}" for number in range(MISSED)]
    try:
        for text in missed:
            alice.say(room, text)
        # The sender has found out that the other is gone.
        time.sleep(2)
    finally:
        down.start()
    bob.sees("what was said last", lambda seen: missed[-1] in seen.texts(room), seconds=60)
    peers.wait_until("all that was missed", lambda: bob.history(room) == ["before the stop", *missed], 60)
    bob.say(room, "after the start")
    alice.hears(room, "after the start")


def joins(user, room, via):
    """Whether the join is let through by now."""
    try:
        return user.join(room, via)
    except Refused:
        return None


def unpadded(text):
    """Any text as what Matrix calls base64."""
    return base64.b64encode(text.encode()).decode().rstrip("=")


def refused(action):
    try:
        action()
    except Refused as error:
        assert error.status in (403, 404), error
    else:
        raise AssertionError("it was not refused")


