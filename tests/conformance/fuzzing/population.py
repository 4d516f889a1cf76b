"""Users of the box who have something of everything, and what is known of it."""

import collections
import hashlib
import hmac

from .box import SECRET

PASSWORD = "correct horse"
# How much of each kind is remembered.
POOL = 100
C = "/_matrix/client/v3"
# The fields of answers that are worth remembering, and as what.
HARVEST = {
    "room_id": "room", "event_id": "event", "user_id": "user", "sender": "user", "device_id": "device", "next_batch": "token",
    "start": "token", "end": "token", "prev_batch": "token", "pos": "token", "filter_id": "filter", "version": "backup",
    "content_uri": "mxc", "session": "uia", "refresh_token": "refresh", "delay_id": "delay", "alias": "alias", "room_alias": "alias",
    "rule_id": "rule", "replacement_room": "room", "state_key": "statekey",
}


class Population:
    """The users that ask, what they have, and what is found out by asking."""

    ROLES = ("owner", "guest", "stranger", "admin")

    def __init__(self, connection):
        self.connection = connection
        self.pools = collections.defaultdict(lambda: collections.deque(maxlen=POOL))
        self.tokens = {}
        self.identities = {}
        self.homes = {}
        # Events with the rooms they are in.
        self.places = collections.deque(maxlen=POOL)
        self.made = 0
        for role in self.ROLES:
            self.renew(role)
        self._furnish()

    def renew(self, role):
        """A new user for a role, whose last one has lost their session."""
        self.made += 1
        username = f"{role}{self.made}"
        path = "/_synapse/admin/v1/register"
        nonce = self.connection.call("GET", path).json["nonce"]
        is_admin = role == "admin"
        message = "\0".join([nonce, username, PASSWORD, "admin" if is_admin else "notadmin"])
        mac = hmac.new(SECRET.encode(), message.encode(), hashlib.sha1).hexdigest()
        request = {"nonce": nonce, "username": username, "password": PASSWORD, "admin": is_admin, "mac": mac}
        answer = self.connection.call("POST", path, body=request).json
        self.tokens[role] = answer["access_token"]
        self.identities[role] = {"user": answer["user_id"], "device": answer["device_id"]}
        self.harvest(answer)
        self.pools["username"].append(username)
        # Something to be about that they may do anything with.
        room = self.ask(role, "POST", f"{C}/createRoom", {"preset": "public_chat"})["room_id"]
        text = {"msgtype": "m.text", "body": "mine"}
        event = self.ask(role, "PUT", f"{C}/rooms/{room}/send/m.room.message/0", text)["event_id"]
        self.homes[role] = (room, event)
        self.places.append((room, event))

    def scene(self, role, random):
        """What a request of that user is likely to be about."""
        room, event = self.homes[role] if random.random() < 0.5 else random.choice(self.places)
        about = {**self.identities[role], "room": room, "event": event}
        if self.pools["media"]:
            about["media"] = random.choice(self.pools["media"])
            about["server"] = self.pools["server"][0]
        return about

    def ask(self, role, method, path, body=None):
        answer = self.connection.call(method, path, self.tokens[role], body)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.bytes[:200]}")
        self.harvest(answer.json)
        return answer.json

    def _furnish(self):
        owner = self.ask("owner", "GET", f"{C}/account/whoami")["user_id"]
        guest = self.ask("guest", "GET", f"{C}/account/whoami")["user_id"]
        self.pools["server"].append(owner.partition(":")[2])
        space = {"creation_content": {"type": "m.space"}, "preset": "public_chat"}
        for request in (
            {"preset": "public_chat", "room_alias_name": "public", "name": "Public", "visibility": "public"},
            {"preset": "private_chat", "invite": [guest], "topic": "Private"},
            {"preset": "public_chat", "room_version": "6"},
            {"preset": "trusted_private_chat", "invite": [guest], "is_direct": True},
            space,
        ):
            room = self.ask("owner", "POST", f"{C}/createRoom", request)["room_id"]
            self.ask("guest", "POST", f"{C}/join/{room}", {})
            text = {"msgtype": "m.text", "body": "hello"}
            root = self.ask("owner", "PUT", f"{C}/rooms/{room}/send/m.room.message/1", text)["event_id"]
            self.places.append((room, root))
            text["m.relates_to"] = {"rel_type": "m.thread", "event_id": root}
            self.ask("guest", "PUT", f"{C}/rooms/{room}/send/m.room.message/2", text)
        self.pools["alias"].append("#public:" + owner.partition(":")[2])
        self.ask("owner", "POST", f"{C}/user/{owner}/filter", {"room": {"timeline": {"limit": 3}}})
        auth = {"public_key": "abcdefg", "signatures": {}}
        backup = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": auth}
        self.ask("owner", "POST", f"{C}/room_keys/version", backup)
        self.ask("owner", "PUT", f"{C}/user/{owner}/account_data/org.example", {"a": 1})
        self.ask("owner", "PUT", f"{C}/pushrules/global/content/mine", {"actions": ["notify"], "pattern": "lighthouse"})
        knocking = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        self.ask("owner", "POST", f"{C}/createRoom", {"initial_state": [knocking]})
        self.ask("owner", "GET", f"{C}/sync")

    def harvest(self, value, depth=0):
        """Remembers what an answer tells of."""
        if depth > 8:
            return
        if isinstance(value, list):
            for item in value[:20]:
                self.harvest(item, depth + 1)
        if isinstance(value, dict):
            room, event = value.get("room_id"), value.get("event_id")
            if isinstance(room, str) and isinstance(event, str):
                self.places.append((room, event))
            for key, item in list(value.items())[:50]:
                kind = HARVEST.get(key)
                if kind and isinstance(item, str) and len(item) < 300:
                    pool = self.pools[kind]
                    if item not in pool:
                        pool.append(item)
                    if kind == "mxc":
                        self.pools["media"].append(item.rpartition("/")[2])
                else:
                    self.harvest(item, depth + 1)
