"""A lean Matrix client for checks across servers: one user, one device, plain HTTP."""

import contextlib
import json
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/bench")

import peers  # noqa: E402  (beside the load generator, which starts the same servers)

REQUEST_SECONDS = 60
CLIENT = "/_matrix/client/v3"


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status
        self.errcode = body.get("errcode") if isinstance(body, dict) else None


def request(base_url, method, path, body=None, token=None, content_type="application/json"):
    headers = {"Content-Type": content_type}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if content_type == "application/json":
        body = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(base_url + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS) as reply:
            data = reply.read()
            is_json = reply.headers.get("Content-Type", "").startswith("application/json")
            return json.loads(data) if is_json else data
    except urllib.error.HTTPError as error:
        data = error.read()
        with contextlib.suppress(ValueError):
            data = json.loads(data)
        raise Refused(error.code, data) from None


def quote(part):
    return urllib.parse.quote(part, safe="")


class User:
    """A new account on a server, and what its sync has seen."""

    def __init__(self, server, name):
        self.server = server
        body = {"type": "m.login.application_service", "username": f"bench-{name}-{secrets.token_hex(4)}"}
        made = request(server.base_url, "POST", f"{CLIENT}/register", body, peers.SERVICE_TOKEN)
        self.id, self.token, self.device = made["user_id"], made["access_token"], made["device_id"]
        self.since = None
        self.seen = Seen()

    def call(self, method, path, body=None):
        if body is None and method in ("POST", "PUT"):
            body = {}
        return request(self.server.base_url, method, path, body, self.token)

    def room(self, method, room_id, path, body=None):
        return self.call(method, f"{CLIENT}/rooms/{quote(room_id)}/{path}", body)

    def create_room(self, version, **options):
        body = {"room_version": version, "preset": "public_chat", **options}
        return self.call("POST", f"{CLIENT}/createRoom", body)["room_id"]

    def join(self, room, via):
        query = f"?server_name={quote(via.server_name)}&via={quote(via.server_name)}"
        return self.call("POST", f"{CLIENT}/join/{quote(room)}{query}")["room_id"]

    def say(self, room_id, text):
        content = {"msgtype": "m.text", "body": text}
        return self.send(room_id, "m.room.message", content)

    def send(self, room_id, event_type, content):
        path = f"send/{event_type}/{secrets.token_hex(8)}"
        return self.room("PUT", room_id, path, content)["event_id"]

    def set_state(self, room_id, event_type, content, key=""):
        path = f"state/{event_type}/{quote(key)}"
        return self.room("PUT", room_id, path, content)["event_id"]

    def state(self, room_id, event_type, key=""):
        """The content, or `None` where there is no such state."""
        try:
            return self.room("GET", room_id, f"state/{event_type}/{quote(key)}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def membership(self, room_id, user_id):
        return (self.state(room_id, "m.room.member", user_id) or {}).get("membership")

    def history(self, room_id):
        """All texts that this user can page back to, oldest first."""
        texts, start = [], ""
        while True:
            page = self.room("GET", room_id, f"messages?dir=b&limit=100{start}")
            texts += [
                event["content"]["body"]
                for event in page["chunk"]
                if event["type"] == "m.room.message" and "body" in event["content"]
            ]
            if "end" not in page:
                return texts[::-1]
            start = f"&from={quote(page['end'])}"

    def sync(self, timeout=0):
        since = f"&since={quote(self.since)}" if self.since else ""
        answer = self.call("GET", f"{CLIENT}/sync?timeout={timeout}{since}")
        self.since = answer["next_batch"]
        self.seen.add(answer)
        return answer

    def sees(self, what, condition, seconds=30):
        """Syncs until what was seen fulfils the condition."""

        def look():
            self.sync(500)
            return condition(self.seen)

        return peers.wait_until(f"{self.id} sees {what}", look, seconds, pause=0)

    def hears(self, room_id, *texts):
        self.sees(f"{texts} in {room_id}", lambda seen: set(texts) <= set(seen.texts(room_id)))

    def upload(self, data, content_type):
        path = "/_matrix/media/v3/upload"
        return request(self.server.base_url, "POST", path, data, self.token, content_type)["content_uri"]

    def download(self, uri):
        path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
        return request(self.server.base_url, "GET", path, None, self.token)


class Seen:
    """Everything that syncs have brought so far."""

    def __init__(self):
        self.events = {}
        self.ephemeral = {}
        self.invited = {}
        self.left = set()
        self.presence = {}
        self.to_device = []
        self.devices_changed = set()

    def add(self, answer):
        rooms = answer.get("rooms", {})
        for group in ("join", "leave"):
            for room_id, room in rooms.get(group, {}).items():
                known = self.events.setdefault(room_id, [])
                known += room.get("state", {}).get("events", []) + room.get("timeline", {}).get("events", [])
                ephemeral = self.ephemeral.setdefault(room_id, [])
                ephemeral += room.get("ephemeral", {}).get("events", [])
        self.left = (self.left - set(rooms.get("join", {}))) | set(rooms.get("leave", {}))
        for room_id, room in rooms.get("invite", {}).items():
            self.invited[room_id] = room["invite_state"]["events"]
        for event in answer.get("presence", {}).get("events", []):
            self.presence[event["sender"]] = event["content"]["presence"]
        self.to_device += answer.get("to_device", {}).get("events", [])
        self.devices_changed |= set(answer.get("device_lists", {}).get("changed", []))

    def of_room(self, room_id, event_type):
        return [event for event in self.events.get(room_id, []) if event["type"] == event_type]

    def texts(self, room_id):
        messages = self.of_room(room_id, "m.room.message")
        return [message["content"].get("body") for message in messages]

    def receipt(self, room_id, event_id, user_id):
        receipts = [it["content"] for it in self.ephemeral.get(room_id, []) if it["type"] == "m.receipt"]
        return any(user_id in it.get(event_id, {}).get("m.read", {}) for it in receipts)

    def typing(self, room_id):
        """Who typed last, of what was said of it."""
        typing = [it["content"]["user_ids"] for it in self.ephemeral.get(room_id, []) if it["type"] == "m.typing"]
        return typing[-1] if typing else []
