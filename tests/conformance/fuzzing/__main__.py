"""Sends requests made up from the specification to a box, and fails where one is not answered properly.

The same seed makes the same requests, as far as the ids that the box gives out go.
"""

import argparse
import collections
import http.client
import json
import random
import sys
import tempfile
import time
import urllib.parse

import jsonschema

from . import box
from .population import PASSWORD, Population
from .specification import Specification
from .values import Values

NAMELESS = "a member without a name or a picture: null, as Complement asks for"
OPAQUE = "how a backup is encrypted is its clients' business: one with another algorithm is kept, too"
# What the box does not serve, and why.
NOT_SERVED = {
    "POST /_matrix/client/v3/account/3pid/bind": "there is no identity server",
    "POST /_matrix/client/v3/account/3pid/unbind": "there is no identity server",
    "GET /_matrix/client/v1/auth_metadata": "there is no OAuth 2.0",
    "GET /_matrix/client/v3/login/sso/redirect": "there is no single sign-on",
    "GET /_matrix/client/v3/login/sso/redirect/{idpId}": "there is no single sign-on",
    "GET /.well-known/matrix/policy_server": "the policy server answers it",
    "POST /_matrix/client/v3/account/3pid": "deprecated: its identity server is not there, /account/3pid/add is",
    "GET /_matrix/client/v3/initialSync": "deprecated for ten years: /sync",
    "GET /_matrix/client/v3/events/{eventId}": "deprecated for ten years: /rooms/{roomId}/event/{eventId}",
}
# Where the box answers otherwise than the schema says, and why.
NULL = "what a member lacks is null: Complement asks for the field"
DEVIATIONS = {
    "GET /_matrix/client/v3/rooms/{roomId}/joined_members 200: joined/additionalProperties/display_name: type": NAMELESS,
    "GET /_matrix/client/v3/rooms/{roomId}/joined_members 200: joined/additionalProperties/avatar_url: type": NAMELESS,
    "GET /_matrix/client/v3/rooms/{roomId}/joined_members 200: joined/patternProperties/^@/display_name: type": NULL,
    "GET /_matrix/client/v3/rooms/{roomId}/joined_members 200: joined/patternProperties/^@/avatar_url: type": NULL,
    "GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey} 200: : oneOf": "whole events fit both of its schemas",
    "GET /_matrix/client/v3/room_keys/version 200: algorithm: enum": OPAQUE,
    "GET /_matrix/client/v3/room_keys/version/{version} 200: algorithm: enum": OPAQUE,
}
ERROR = {"type": "object", "properties": {"errcode": {"type": "string"}, "error": {"type": "string"}}, "required": ["errcode"]}
# Answers of the HTTP library, before anything of the API is known.
BELOW_THE_API = (414, 431)
TARGET = 10_000
# How many of one kind of finding are shown.
SHOWN = 3


def main():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--spec", required=True, help="a clone of github.com/matrix-org/matrix-spec")
    parser.add_argument("--revision", default="HEAD", help="a tag or commit of it")
    parser.add_argument("--appliance", required=True, help="the binary of the box")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--trace", type=argparse.FileType("w"), help="writes every request and its status there")
    options = parser.parse_args()

    specification = Specification(options.spec, options.revision)
    with tempfile.TemporaryDirectory(prefix="luxchat-fuzz-") as folder:
        with box.running(options.appliance, folder) as (address, log, server):
            fuzz = Fuzz(specification, address, options)
            fuzz.run()
            if server.poll() is not None:
                fuzz.find("the box ended", f"with status {server.returncode}")
            for line in box.panics(log):
                fuzz.find("panic", line)
    return fuzz.report()


class Fuzz:
    def __init__(self, specification, address, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.operations = [it for it in specification.operations() if options.only in it.name]
        self.connection = box.Connection(address)
        self.population = Population(self.connection)
        self.values = Values(self.random, self.population.pools, specification.events())
        self.validators = {}
        self.findings = collections.defaultdict(list)
        self.statuses = collections.Counter()
        self.succeeded = set()
        # What was asked for, and what of it was not answered "unrecognized" each time.
        self.asked = set()
        self.served = set()

    def run(self):
        started = time.monotonic()
        order = []
        for number in range(self.options.requests):
            if not order:
                order = list(self.operations)
                self.random.shuffle(order)
            self.step(number, order.pop())
        self.seconds = time.monotonic() - started

    def step(self, number, operation):
        role = self.random.choice(Population.ROLES)
        target, body, headers = self.request(operation, role)
        shown = f"#{number} {role} {operation.method} {target[:300]} {body[:600] if body else ''}"
        try:
            answer = self.connection.send(operation.method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.find(f"no answer: {operation.name}", f"{error!r}: {shown}")
            return
        self.statuses[answer.status] += 1
        if self.options.trace:
            print(answer.status, shown, answer.bytes[:300], file=self.options.trace)
        self.check(operation, answer, shown)
        self.keep_alive(role, answer)

    def request(self, operation, role):
        """A target, a body and headers: mostly right, with one thing wrong, or all."""
        self.values.scene = self.population.scene(role, self.random)
        roll = self.random.random()
        path = operation.path
        query = []
        headers = {}
        spoilt = self.random.choice(["path", "query", "body"]) if roll > 0.6 else None
        for parameter in operation.parameters:
            is_spoilt = spoilt == parameter.where and self.random.random() < 0.5
            value = self.values.junk() if is_spoilt else self.parameter(parameter)
            if parameter.where == "path":
                text = value if isinstance(value, str) else json.dumps(value)
                path = path.replace(f"{{{parameter.name}}}", quoted(text))
            elif parameter.where == "query":
                is_waiting = parameter.name == "timeout" or "timeout" in parameter.name
                if is_waiting or parameter.required != is_spoilt or self.random.random() < 0.4:
                    value = 0 if is_waiting and not is_spoilt else value
                    for item in value if isinstance(value, list) else [value]:
                        query.append((parameter.name, item if isinstance(item, str) else json.dumps(item)))
        body = self.body(operation, spoilt == "body", headers)
        authority = self.random.random()
        if authority < 0.04:
            headers["authorization"] = "Bearer wrong"
        elif authority > 0.06:
            headers["authorization"] = f"Bearer {self.population.tokens[role]}"
        if query:
            path += "?" + "&".join(f"{quoted(key)}={quoted(value)}" for key, value in query)
        return path, body, headers

    def parameter(self, parameter):
        value = self.values.valid(parameter.schema, parameter.name)
        if parameter.name == "filter" and self.random.random() < 0.3:
            return json.dumps({"room": {"timeline": {"limit": 2, "lazy_load_members": True}}})
        return value

    def body(self, operation, is_spoilt, headers):
        for kind, schema in operation.bodies.items():
            headers["content-type"] = kind
            if kind != "application/json":
                return self.random.randbytes(self.random.randint(0, 2_000))
            value = self.values.valid(schema)
            if operation.path.endswith(("/send/{eventType}/{txnId}", "/state/{eventType}/{stateKey}")):
                value = self.values.content()
            if operation.name == "POST /_matrix/client/v3/login" and self.random.random() < 0.5:
                user = {"type": "m.id.user", "user": self.values.known("username")}
                value |= {"type": "m.login.password", "identifier": user, "password": PASSWORD, "refresh_token": True}
            if is_spoilt:
                if self.random.random() < 0.15:
                    return self.random.choice([b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"a":1e999}', b'{"a":1,"a":2}', b"null"])
                value = self.values.broken(value)
            return json.dumps(value).encode()
        return None

    def check(self, operation, answer, shown):
        status = answer.status
        said = f"{status} {answer.bytes[:500]!r} to {shown}"
        json_ = answer.json
        code = json_.get("errcode") if isinstance(json_, dict) else None
        self.asked.add(operation.name)
        if code == "M_UNRECOGNIZED" and status in (404, 405):
            return
        self.served.add(operation.name)
        if status < 300:
            self.succeeded.add(operation.name)
            self.population.harvest(json_)
        if status >= 500 and status not in operation.answers:
            self.find(f"{status}: {operation.name}", said)
            return
        if status in BELOW_THE_API:
            return
        schema = operation.answers.get(status)
        # 401 asks for a stage of authentication, or says that the token is none: only the one is described everywhere.
        if status >= 400 and (schema is None or (status == 401 and code and "flows" not in json_)):
            schema = ERROR
        if schema is None:
            return
        if json_ is None:
            self.find(f"no JSON: {operation.name}", said)
            return
        key = (operation.name, status, schema is ERROR)
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator(schema)
        for error in self.validators[key].iter_errors(json_):
            steps = [str(part) for part in error.absolute_schema_path]
            where = "/".join(step for step in steps[:-1] if step not in ("properties", "items"))
            what = f"{operation.name} {status}: {where}: {error.validator}"
            if what not in DEVIATIONS:
                self.find(f"schema: {what}", f"{error.message[:300]}: {said}")

    def keep_alive(self, role, answer):
        """Whoever lost their session, or their standing, makes room for somebody new."""
        if answer.status not in (401, 403):
            return
        code = (answer.json or {}).get("errcode")
        if code in ("M_UNKNOWN_TOKEN", "M_USER_LOCKED", "M_USER_SUSPENDED"):
            whoami = self.connection.call("GET", "/_matrix/client/v3/account/whoami", self.population.tokens[role])
            if whoami.status != 200 or code == "M_USER_SUSPENDED":
                self.population.renew(role)

    def find(self, kind, example):
        self.findings[kind].append(example)

    def report(self):
        total = sum(self.statuses.values())
        print(f"{total} requests for {len(self.operations)} operations in {self.seconds:.0f} s, seed {self.options.seed}")
        print("answers: " + ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items())))
        for name in sorted(self.asked - self.served - NOT_SERVED.keys()):
            self.find("not served", name)
        never = {it.name for it in self.operations} - self.succeeded - NOT_SERVED.keys()
        print(f"operations that succeeded at least once: {len(self.succeeded)}; never: {', '.join(sorted(never)) or 'none'}")
        for kind, examples in sorted(self.findings.items()):
            print(f"\n{kind} ({len(examples)})")
            for example in examples if kind == "not served" else examples[:SHOWN]:
                print(f"  {example}")
        print(f"\n{sum(map(len, self.findings.values()))} findings of {len(self.findings)} kinds")
        return 1 if self.findings else 0


def quoted(text):
    """Percent-encoded, and no longer than HTTP libraries take a target to be."""
    return urllib.parse.quote(text[:TARGET].encode(errors="surrogatepass"), safe="")


if __name__ == "__main__":
    sys.exit(main())
