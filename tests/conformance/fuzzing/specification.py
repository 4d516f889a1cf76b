"""The client-server API as the specification's own files define it."""

import dataclasses
import io
import pathlib
import subprocess
import tarfile

import yaml

METHODS = ("get", "put", "post", "delete")
API = pathlib.PurePosixPath("data/api/client-server")
EVENTS = pathlib.PurePosixPath("data/event-schemas/schema")
# A schema that refers to itself is followed this often.
CYCLE = 2


@dataclasses.dataclass(frozen=True)
class Parameter:
    where: str
    name: str
    required: bool
    schema: dict


@dataclasses.dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    authenticated: bool
    parameters: tuple[Parameter, ...]
    # By content type.
    bodies: dict[str, dict]
    # The schema of JSON answers by status, None where no body, or no JSON, is described.
    answers: dict[int, dict | None]

    @property
    def name(self):
        return f"{self.method} {self.path}"


class Specification:
    """Reads a clone of the specification's repository, with or without a work tree."""

    def __init__(self, clone, revision="HEAD"):
        command = ["git", "-C", clone, "archive", revision, "data/api", "data/event-schemas"]
        archive = subprocess.run(command, capture_output=True, check=True).stdout
        self.documents = {}
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for member in files:
                if member.name.endswith(".yaml"):
                    text = files.extractfile(member).read()
                    self.documents[pathlib.PurePosixPath(member.name)] = yaml.load(text, yaml.CSafeLoader)

    def operations(self):
        """All of them, in the order of files, paths and methods."""
        found = []
        for file, document in sorted(self.documents.items()):
            if file.parent != API or "paths" not in document:
                continue
            base = document["servers"][0]["variables"]["basePath"]["default"]
            for path, item in document["paths"].items():
                shared = item.get("parameters", [])
                for method in METHODS:
                    if method in item:
                        found.append(self._operation(file, base + path.strip(), method, item[method], shared))
        return found

    def events(self):
        """The schema of the content of every kind of event, by its type and what sets its variant apart."""
        found = {}
        for file, document in sorted(self.documents.items()):
            if file.parent != EVENTS:
                continue
            schema = self.resolve(document, file)
            content = schema.get("properties", {}).get("content")
            if content is not None:
                found[file.stem] = (file.stem.split("$")[0], content, "state_key" in schema.get("properties", {}))
        return list(found.values())

    def _operation(self, file, path, method, item, shared):
        item = self.resolve({"item": item, "shared": shared}, file)
        shared, item = item["shared"], item["item"]
        parameters = tuple(
            Parameter(it["in"], it["name"], it.get("required", False), it.get("schema", {}))
            for it in [*shared, *item.get("parameters", [])]
        )
        content = item.get("requestBody", {}).get("content", {})
        answers = {}
        for status, answer in item["responses"].items():
            if not str(status).isdigit():
                continue
            json = answer.get("content", {}).get("application/json")
            answers[int(status)] = json.get("schema", {}) if json is not None else None
        return Operation(
            method=method.upper(),
            path=path,
            authenticated=any(item.get("security", [])),
            parameters=parameters,
            bodies={kind: value.get("schema", {}) for kind, value in content.items()},
            answers=answers,
        )

    def resolve(self, node, file, trail=()):
        """`node` of `file` with every reference put in, and `allOf` of objects made one."""
        if isinstance(node, list):
            return [self.resolve(item, file, trail) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            target = self._target(node["$ref"], file)
            if trail.count(target) >= CYCLE:
                return {}
            document = self.documents[target[0]]
            for part in target[1]:
                document = document[part]
            found = self.resolve(document, target[0], (*trail, target))
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return merged([found, self.resolve(rest, file, trail)]) if rest else found
        # Examples are no part of the contract, and refer to files of their own.
        plain = {
            key: self.resolve(value, file, trail)
            for key, value in node.items()
            if key not in ("examples", "$schema", "$id") and not (key == "example" and isinstance(value, dict))
        }
        if isinstance(plain.get("allOf"), list):
            rest = {key: value for key, value in plain.items() if key != "allOf"}
            return merged([*plain["allOf"], rest])
        return plain

    def _target(self, reference, file):
        name, _, fragment = reference.partition("#")
        path = file
        if name:
            parts = []
            for part in (file.parent / name).parts:
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            path = pathlib.PurePosixPath(*parts)
        return path, tuple(part for part in fragment.split("/") if part)


def merged(schemas):
    """One schema for all of them; what a later one says of a property goes before what an earlier one says."""
    result = {}
    for schema in schemas:
        for key, value in schema.items():
            old = result.get(key)
            if key in ("properties", "patternProperties") and isinstance(old, dict):
                both = dict(old)
                for name, property_ in value.items():
                    both[name] = merged([both[name], property_]) if isinstance(both.get(name), dict) else property_
                result[key] = both
            elif key == "required" and isinstance(old, list) and isinstance(value, list):
                result[key] = sorted({*old, *value})
            else:
                result[key] = value
    return result
