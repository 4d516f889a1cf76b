"""Values for a schema: such as it asks for, and such as nobody should send."""

import string

from .specification import merged

# Depth below which optional parts are left out.
DEEP = 5
STRINGS = [
    "", " ", "\x00", "\u200f\u202e", "é" * 300, "x" * 70_000, "💥", "\ud7ff", "../../etc/passwd", "%00", "%", "'; --", "null",
    "-1", "NaN", "a/b", "{}", "\r\nX-Evil: 1", "@:", "!", "#", "$", "mxc://", "mxc://a/", "@a:b:c:d", "::1", "[::1]:70000",
]
NUMBERS = [0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.0, 1e300, 1_000_000]
# Which pool the names of parameters and properties draw from.
POOLS = {
    "roomid": "room", "roomidoralias": "room", "parentroomid": "room", "replacementroom": "room", "userid": "user", "user": "user",
    "sender": "user", "invitee": "user", "eventid": "event", "redacts": "event", "threadid": "event", "deviceid": "device",
    "roomalias": "alias", "alias": "alias", "servername": "server", "server": "server", "via": "server", "filterid": "filter",
    "filter": "filter", "version": "backup", "since": "token", "from": "token", "to": "token", "batch": "token",
    "nextbatch": "token", "mfullyread": "event", "mread": "event", "mreadprivate": "event", "mediaid": "media",
    "sessionid": "session", "session": "uia", "refreshtoken": "refresh", "receipttype": "receipt", "eventtype": "type",
    "type": "type", "ruleid": "rule", "kind": "kind", "tag": "tag", "statekey": "statekey", "reltype": "relation",
    "delayid": "delay", "txnid": "txn", "keyname": "field", "protocol": "protocol", "username": "username", "dir": "dir",
    "newversion": "roomversion", "roomversion": "roomversion", "joinrule": "joinrule",
}
FORMATS = {
    "mx-user-id": "user", "mx-room-id": "room", "mx-event-id": "event", "mx-room-alias": "alias", "mx-server-name": "server",
    "mx-mxc-uri": "mxc",
}
# Words that are always known, to go with what answers bring.
WORDS = {
    "receipt": ["m.read", "m.read.private", "m.fully_read", "org.example"],
    "type": ["m.room.message", "m.room.name", "m.room.member", "m.room.power_levels", "m.reaction", "org.example", "m.direct"],
    "rule": [".m.rule.master", ".m.rule.message", "mine", "!room:example.org", ".m.rule.suppress_notices"],
    "kind": ["override", "underride", "sender", "room", "content"],
    "tag": ["m.favourite", "u.work", "m.lowpriority"],
    "statekey": ["", "@nobody:example.org", "key"],
    "relation": ["m.thread", "m.annotation", "m.replace", "m.reference", "org.example"],
    "txn": ["1", "2", "3"],
    "field": ["displayname", "avatar_url", "m.tz", "org.example.field"],
    "protocol": ["irc", "none"],
    "dir": ["f", "b"],
    "roomversion": ["1", "6", "10", "11", "12", "99"],
    "joinrule": ["public", "invite", "knock", "restricted", "knock_restricted", "private"],
    "server": ["example.org", "nowhere.example"],
    "session": ["session"],
    "delay": ["delay"],
    "token": ["s0", "t0", "0"],
}


class Values:
    """Draws everything from one source of randomness, so that a seed says it all."""

    def __init__(self, random, pools, events):
        self.random = random
        self.pools = pools
        self.events = events
        # What goes together in one request: its user's own id and device, a room and an event of it.
        self.scene = {}

    def known(self, kind):
        """Something of that kind that exists, or could."""
        if kind in self.scene and self.random.random() < 0.7:
            return self.scene[kind]
        choices = [*WORDS.get(kind, ()), *self.pools.get(kind, ())]
        return self.random.choice(choices) if choices else None

    def word(self):
        letters = string.ascii_lowercase + string.digits
        return "".join(self.random.choices(letters, k=self.random.randint(1, 12)))

    def content(self, event_type=None):
        """The content of some event, as its schema asks for."""
        fitting = [event for event in self.events if event_type in (None, event[0])]
        if not fitting:
            return {"body": self.word()}
        return self.valid(self.random.choice(fitting)[1], "content")

    def valid(self, schema, name="", depth=0):
        """A value that the schema allows."""
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self.random.choice(schema["enum"])
        for key in ("oneOf", "anyOf"):
            if schema.get(key):
                rest = {other: value for other, value in schema.items() if other != key}
                return self.valid(merged([rest, self.random.choice(schema[key])]), name, depth)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self.random.choice(kind)
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return getattr(self, f"_{kind}")(schema, name, depth)

    def _object(self, schema, name, depth):
        if name == "auth":
            return self.authentication()
        if name == "content" and not schema.get("properties"):
            return self.content()
        required = schema.get("required", [])
        result = {}
        for key, property_ in schema.get("properties", {}).items():
            if key in required or (depth < DEEP and self.random.random() < 0.5):
                result[key] = self.valid(property_, key, depth + 1)
        patterns = [*schema.get("patternProperties", {}).items()]
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            patterns.append((schema.get("x-pattern-format", ""), extra))
        for pattern, property_ in patterns:
            for _ in range(self.random.randint(0, 2) if depth < DEEP else 0):
                result[self.key(pattern, property_)] = self.valid(property_, "", depth + 1)
        return result

    def key(self, pattern, schema):
        form = schema.get("x-pattern-format") or pattern
        if form in FORMATS:
            return self.known(FORMATS[form]) or self.word()
        for sign, kind in (("@", "user"), ("!", "room"), ("$", "event"), ("#", "alias")):
            if form.startswith(("^" + sign, "^\\" + sign)):
                return self.known(kind) or self.word()
        return self.known(self.random.choice(["user", "room", "device", "event"])) or self.word()

    def _array(self, schema, name, depth):
        count = self.random.randint(schema.get("minItems", 0), 3) if depth < DEEP else 0
        return [self.valid(schema.get("items", {}), name.removesuffix("s"), depth + 1) for _ in range(count)]

    def _string(self, schema, name, _depth):
        kind = FORMATS.get(schema.get("format")) or POOLS.get(name.replace("_", "").replace(".", "").lower())
        if kind and self.random.random() < 0.9:
            found = self.known(kind)
            if found is not None:
                return found
        if schema.get("format") == "uri":
            return "https://example.org/" + self.word()
        if isinstance(schema.get("example"), str) and self.random.random() < 0.3:
            return schema["example"]
        return self.word()

    def _integer(self, schema, name, _depth):
        if name == "timeout":
            # Nobody waits here.
            return 0
        return self.random.choice([schema.get("minimum", 0), 1, 10, 100, 1_700_000_000_000])

    def _number(self, _schema, _name, _depth):
        return self.random.choice([0, 1, 0.5])

    def _boolean(self, _schema, _name, _depth):
        return self.random.random() < 0.5

    def _null(self, _schema, _name, _depth):
        return None

    def authentication(self):
        """A stage of user-interactive authentication."""
        user = self.known("user") or "@nobody:example.org"
        stage = {
            "type": self.random.choice(["m.login.password", "m.login.dummy", "m.login.token", "org.example"]),
            "identifier": {"type": "m.id.user", "user": user},
            "password": self.random.choice(["correct horse", "wrong"]),
        }
        session = self.known("uia")
        if session:
            stage["session"] = session
        return stage

    def junk(self, depth=0):
        """Anything that JSON can say."""
        roll = self.random.randint(0, 7 if depth < 3 else 5)
        if roll <= 1:
            return self.random.choice(STRINGS)
        if roll <= 3:
            return self.random.choice(NUMBERS)
        if roll == 4:
            return None
        if roll == 5:
            return self.random.random() < 0.5
        if roll == 6:
            return [self.junk(depth + 1) for _ in range(self.random.randint(0, 3))]
        return {self.random.choice([*STRINGS[:5], "type", "body", "m.relates_to"]): self.junk(depth + 1) for _ in range(2)}

    def broken(self, value):
        """`value` with one part of it spoilt, somewhere."""
        if isinstance(value, dict) and value and self.random.random() < 0.85:
            key = self.random.choice(sorted(value))
            changed = dict(value)
            roll = self.random.random()
            if roll < 0.25:
                del changed[key]
            elif roll < 0.35:
                changed[self.random.choice(STRINGS)] = self.junk()
            else:
                changed[key] = self.broken(value[key])
            return changed
        if isinstance(value, list) and value and self.random.random() < 0.7:
            index = self.random.randrange(len(value))
            roll = self.random.random()
            if roll < 0.2:
                return value * 50
            return [*value[:index], self.broken(value[index]), *value[index + 1 :]]
        return self.junk()
