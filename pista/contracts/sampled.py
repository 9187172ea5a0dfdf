"""Sampled messages as fields: envelopes opened, objects flattened by path."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pista.contracts.dataset import Origin
from pista.contracts.names import COLUMN_MAX_BYTES, column_name_problem
from pista.contracts.paths import Step

MAX_DEPTH = 4  # names in a path; what lies deeper stays in an object
FEW = 20  # one in so many may be broken, and a sample of fewer says nothing of a share
MAX_FIELDS = 40  # of an object that is flattened; one with more is a map, whose keys are data
ROW_OPERATIONS = ("c", "u", "r")  # of Debezium: created, updated, read by a snapshot
OTHER_OPERATIONS = ("d", "t", "m")  # deleted, truncated, a message of an application
WRAPPED = {"schema", "payload"}  # as Connect's JSON converter writes by default

Message = tuple[bytes | None, bytes | None]  # Kafka key, value; both plain
Row = dict[str, Any]


@dataclass(slots=True)
class Field:
    """What the sample holds of one field."""

    steps: tuple[Step, ...]
    name: str  # of its column
    values: list[Any] = field(default_factory=list)  # not null, in the order of the rows
    origin: Origin = Origin.VALUE
    declared: str | None = None  # what Connect calls its type, such as io.debezium.time.Date
    position: int = 0  # in the key, from 1
    deleted: list[Any] = field(default_factory=list)  # of a key column: values of what was deleted
    rows: list[int] = field(default_factory=list)  # which row each value is from

    @property
    def label(self) -> str:
        """The path for people."""
        return ".".join(str(step) for step in self.steps)

    def kinds(self) -> set[type]:
        """The types of its values."""
        return {type(value) for value in self.values}


@dataclass(slots=True)
class Sample:
    """Messages, read."""

    count: int
    rows: list[tuple[bytes | None, Row]]  # Kafka key and row
    deleted: list[bytes | None]  # Kafka keys of tombstones
    unreadable: int
    debezium: bool
    root: tuple[Step, ...]  # where the row begins in a value
    declared: Mapping[str, str] = field(default_factory=dict)  # names of types that schemas beside the rows give

    @property
    def keys(self) -> list[bytes | None]:
        """Kafka keys of the rows and of what was deleted."""
        return [*(key for key, _ in self.rows), *self.deleted]


def read_sample(messages: Sequence[Message], debezium: bool = True) -> Sample:
    """The rows of the messages; change events of Debezium are opened only where ``debezium`` allows it."""
    documents: list[tuple[bytes | None, Row]] = []
    deleted: list[bytes | None] = []
    unreadable = 0
    for key, value in messages:
        if value is None:
            deleted.append(key)
        elif (document := parse_object(value)) is not None:
            documents.append((key, document))
        else:
            unreadable += 1
    changes = _changes(documents) if debezium and documents else None
    if changes is not None:
        declared = _declared(document.get("schema") for _, document in documents)
        return Sample(len(messages), changes, deleted, unreadable, debezium=True, root=(), declared=declared)
    wrapped = bool(documents) and all(
        document.keys() == WRAPPED and isinstance(document["payload"], dict) for _, document in documents
    )
    rows = [(key, document["payload"] if wrapped else document) for key, document in documents]
    root: tuple[Step, ...] = ("payload",) if wrapped else ()
    declared = _declared(document["schema"] for _, document in documents) if wrapped else {}
    return Sample(len(messages), rows, deleted, unreadable, debezium=False, root=root, declared=declared)


def parse_object(text: bytes) -> Row | None:
    """The JSON object that the text is; None if it is none."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def unwrapped(document: Row) -> Row:
    """A document without the schema that Connect may have put beside it."""
    payload = document.get("payload")
    return payload if document.keys() == WRAPPED and isinstance(payload, dict) else document


def _changes(documents: Sequence[tuple[bytes | None, Row]]) -> list[tuple[bytes | None, Row]] | None:
    """The rows after the changes; None if not all documents are change events."""
    rows = []
    for key, document in documents:
        event = unwrapped(document)
        operation = event.get("op")
        if operation in ROW_OPERATIONS and isinstance(event.get("after"), dict):
            rows.append((key, event["after"]))
        elif operation not in OTHER_OPERATIONS or not event.keys() & {"before", "after", "message", "source"}:
            return None
    return rows


def _declared(schemas: Iterable[Any]) -> dict[str, str]:
    """Names that Connect's schemas give to the types of a row's fields; a row's schema may stand under ``after``."""
    found: dict[str, str] = {}
    for schema in schemas:
        for inner in _struct(schema):
            if inner.get("field") == "after":
                found |= {name: kind for name, kind in map(_named, _struct(inner)) if name and kind}
            name, kind = _named(inner)
            if name and kind and inner.get("type") != "struct":
                found[name] = kind
    return found


def _struct(schema: Any) -> list[Row]:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    return [inner for inner in fields if isinstance(inner, dict)] if isinstance(fields, list) else []


def _named(inner: Row) -> tuple[str | None, str | None]:
    name, kind = inner.get("field"), inner.get("name")
    return (name, kind) if isinstance(name, str) and isinstance(kind, str) else (None, None)


def flatten(sample: Sample) -> list[Field]:
    """Fields in the order in which they first appear; objects become their fields, where these are few."""
    found: list[Field] = []
    names: set[str] = set()
    for steps, values in _leaves(list(enumerate(row for _, row in sample.rows)), ()):
        name = column_name("_".join(str(step) for step in steps), names)
        names.add(name)
        declared = sample.declared.get(str(steps[0])) if len(steps) == 1 else None
        place = (*sample.root, *steps)
        found.append(Field(place, name, [v for _, v in values], declared=declared, rows=[row for row, _ in values]))
    return found


def _leaves(
    rows: Sequence[tuple[int, Row]], prefix: tuple[Step, ...]
) -> Iterable[tuple[tuple[Step, ...], list[tuple[int, Any]]]]:
    """Paths, with the values that are there and the numbers of their rows."""
    names = dict.fromkeys(name for _, row in rows for name in row)
    for name in names:
        steps = (*prefix, name)
        values = [(number, row[name]) for number, row in rows if row.get(name) is not None]
        if values and len(steps) < MAX_DEPTH and _has_fields([value for _, value in values]):
            yield from _leaves(values, steps)
        else:
            yield steps, values


def _has_fields(values: Sequence[Any]) -> bool:
    """Whether these are objects with fields, rather than maps or anything else."""
    if not all(isinstance(value, dict) for value in values):
        return False
    names = {name for value in values for name in value}
    most = max(map(len, values))
    return 0 < len(names) <= MAX_FIELDS and len(names) <= 3 * most and all(map(is_writable, names))


def is_writable(name: str) -> bool:
    """Whether a contract can hold the name of this field."""
    return bool(name) and name.isprintable()


def is_few(broken: int, count: int) -> bool:
    """Whether so many of a sample may be broken without saying anything of the others."""
    return count >= FEW and broken * FEW <= count


def column_name(source: str, taken: Iterable[str] = ()) -> str:
    """A column's name made of a field's: ``Número de vuelo`` becomes ``numero_de_vuelo``."""
    text = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")[: COLUMN_MAX_BYTES - 10].strip("_")
    if not text or not text[0].isalpha():
        text = f"column_{text}".rstrip("_")
    if column_name_problem(text) is not None:
        text += "_value"
    others = set(taken)
    candidate, number = text, 2
    while candidate in others:
        candidate, number = f"{text}_{number}", number + 1
    return candidate
