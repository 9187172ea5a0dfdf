"""A first contract, inferred from messages of a topic. Its comments say what is a guess and what to check."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import orjson

from pista.contracts.names import COLUMN_MAX_BYTES, column_name_problem

ENUM_MIN_RECORDS = 200  # fewer say nothing about the values to come
ENUM_MAX_VALUES = 10
ENUM_MIN_OCCURRENCES = 5  # of each value
TEXT_MAX_SHOWN = 40

DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?\Z")
OFFSET_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})\Z")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")
IDENTITY = re.compile(r"(.+_)?id\Z|id_.+\Z")
NESTED = (dict, list)
NOT_PLAIN = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # words of YAML 1.1 and 1.2


class InferenceError(Exception):
    """The sample says too little for a contract."""


@dataclass(slots=True)
class _Field:
    """What the sample holds of one field."""

    source: str
    name: str
    values: list[Any] = field(default_factory=list)  # not null
    in_key: bool = False

    def kinds(self) -> set[type]:
        return {type(value) for value in self.values}


def infer_contract(name: str, topic: str, messages: Sequence[tuple[bytes | None, bytes | None]]) -> str:
    """The text of a contract for messages given as (Kafka key, value); tombstones have the value None.

    Raises:
        InferenceError: no message is a JSON object.
    """
    rows: list[tuple[bytes | None, dict[str, Any]]] = []
    unreadable = 0
    for key, value in messages:
        row = _parse(value) if value is not None else {}
        if row:
            rows.append((key, row))
        elif value is not None:
            unreadable += 1
    if not rows:
        raise InferenceError(f"none of {len(messages)} sampled records of {topic} is a JSON object with fields")
    fields = _fields(row for _, row in rows)
    keyed = _mark_key(fields, rows)
    columns = [line for f in fields for line in _column(f, len(rows))]
    if not any(line.startswith("      - name:") for line in columns):
        raise InferenceError(f"no field of {len(rows)} sampled records of {topic} has a type that is supported yet")
    note = f", {unreadable} of them no JSON objects" if unreadable else ""
    return "\n".join([*_header(name, topic, len(messages), note, fields, keyed), *columns, ""])


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


def _parse(value: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _fields(rows: Iterable[dict[str, Any]]) -> list[_Field]:
    """Fields in the order in which they first appear."""
    found: dict[str, _Field] = {}
    for row in rows:
        for source, value in row.items():
            if source not in found:
                found[source] = _Field(source, column_name(source, (f.name for f in found.values())))
            if value is not None:
                found[source].values.append(value)
    return list(found.values())


def _mark_key(fields: list[_Field], rows: list[tuple[bytes | None, dict[str, Any]]]) -> str:
    """Mark the key columns, and say by what they were found. Without any, every message is a row of its own."""
    candidates = [
        f
        for f in fields
        if len(f.values) == len(rows) and f.kinds() in ({str}, {int}) and f.source and not _personal(f)
    ]
    for candidate in candidates:
        if all(key is not None and key == _text(row[candidate.source]).encode() for key, row in rows):
            candidate.in_key = True
            return "the Kafka key of every sampled message is this field: the newest message of a key is its row"
    for candidate in candidates:
        if IDENTITY.match(candidate.name) and len(rows) > 1 and len(set(candidate.values)) == len(rows):
            candidate.in_key = True
            return "a guess by its name, and because no value came twice: the newest message of a key is its row"
    return ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _header(name: str, topic: str, count: int, note: str, fields: list[_Field], keyed: str) -> list[str]:
    key = ", ".join(f.name for f in fields if f.in_key)
    kind = (
        f"One row a {key}: {keyed}." if keyed else "Every message is a row of its own; mark key columns to keep states."
    )
    times = [f.name for f in fields if f.name.endswith(("event_time", "updated_at", "modified_at"))]
    order = [
        "# Which event of a key is newer: by place in the topic, unless a required column says it better.",
        "# customProperties:",
        f"#   - {{property: ordering, value: {times[0] if times else 'updated_at'}}}",
    ]
    return [
        f"# Inferred from {count} records of the topic {topic}{note}. Read it, correct it, then run `pista apply`.",
        f"# {kind}",
        "apiVersion: v3.2.0",
        "kind: DataContract",
        f"id: {_word(name)}",
        f"name: {_word(name)}",
        "version: 1.0.0",
        "status: active",
        "# domain: groups datasets in the catalog and in Dagster",
        "description:",
        f"  purpose: {_quoted(f'Records of the topic {topic}.')} # say what a row is and what it is good for",
        "# team: {name: who-owns-it}",
        "servers:",
        "  - {server: kafka, type: kafka, host: localhost:9092, format: json} # the address is PISTA_KAFKA_BOOTSTRAP's",
        *(order if keyed else []),
        "schema:",
        f"  - name: {_word(name)}",
        f"    physicalName: {_quoted(topic)}",
        "    properties:",
    ]


def _column(f: _Field, count: int) -> list[str]:
    reason = _unsupported(f)
    if reason:
        shown = _quoted(f.source) if f.source.isprintable() else ascii(f.source)
        return [f"      # The field {shown} is left out: {reason}."]
    lines = [f"      - name: {_word(f.name)}"]
    if f.source != f.name:
        lines.append(f"        physicalName: {_quoted(f.source)}")
    kind, options, comment = _type(f)
    lines.append(f"        logicalType: {kind}{f' # {comment}' if comment else ''}")
    if options:
        lines.append(f"        logicalTypeOptions: {options}")
    if f.in_key:
        lines += ["        primaryKey: true", "        primaryKeyPosition: 1"]
    if len(f.values) == count:
        lines.append(f"        required: true # none of {count} records lacks it")
    if _personal(f):
        return [*lines, "        classification: pii # looks like e-mail addresses: not served"]
    values = _enum(f) if kind == "string" else []
    if values:
        lines.append(f"        enum: # all that {len(f.values)} records hold; any other value is refused")
        lines += [f"          - {{value: {_quoted(value)}}}" for value in values]
        return lines
    examples = list(dict.fromkeys(json.dumps(v, ensure_ascii=False) for v in f.values if _showable(v)))[:2]
    if examples:
        lines.append(f"        examples: [{', '.join(examples)}]")
    return lines


def _unsupported(f: _Field) -> str | None:
    if not f.values:
        return "it is null in every sampled record"
    kinds = f.kinds()
    if not f.source or not f.source.isprintable():
        return "its name holds nothing, or what cannot be printed"
    if kinds & set(NESTED):
        return "objects and arrays are not supported yet"
    if len(kinds) > 1 and kinds != {int, float}:
        return f"its values are of several types ({', '.join(sorted(kind.__name__ for kind in kinds))})"
    if kinds == {int} and not all(-(1 << 63) <= value < 1 << 63 for value in f.values):
        return "its numbers do not fit 64 bits"
    return None


def _type(f: _Field) -> tuple[str, str, str]:
    """Logical type, options and comment."""
    kinds = f.kinds()
    if kinds == {bool}:
        return "boolean", "", ""
    if kinds == {int}:
        return "integer", "", ""
    if kinds <= {int, float}:
        return "number", "", ""
    if _all(f, DATE, date.fromisoformat):
        return "date", "", ""
    if _all(f, OFFSET_TIME, datetime.fromisoformat):
        return "timestamp", "", ""
    if _all(f, LOCAL_TIME, datetime.fromisoformat):
        comment = "its values carry no zone: CHECK that they are UTC, else write their zone, such as America/Bogota"
        return "timestamp", "{timezone: false, defaultTimezone: UTC}", comment
    return "string", "", ""


def _all(f: _Field, pattern: re.Pattern[str], parse: Callable[[str], object]) -> bool:
    try:
        return all(pattern.match(value) and parse(value) for value in f.values)
    except ValueError:
        return False


def _enum(f: _Field) -> list[str]:
    """The values of a text that has few of them and each of them often; none if that is not clear."""
    counts = Counter(f.values)
    clear = (
        not f.in_key
        and len(f.values) >= ENUM_MIN_RECORDS
        and 2 <= len(counts) <= ENUM_MAX_VALUES
        and min(counts.values()) >= ENUM_MIN_OCCURRENCES
        and all(_showable(value) for value in counts)
    )
    return sorted(counts) if clear else []


def _personal(f: _Field) -> bool:
    return bool(f.values) and all(isinstance(v, str) and EMAIL.match(v) for v in f.values)


def _showable(value: object) -> bool:
    return not isinstance(value, str) or (value.isprintable() and 0 < len(value) <= TEXT_MAX_SHOWN)


def _quoted(text: str) -> str:
    """Double-quoted YAML, which JSON is; only for printable text."""
    return json.dumps(text, ensure_ascii=False)


def _word(name: str) -> str:
    """A name, in quotes where it would be read as something else."""
    return _quoted(name) if name in NOT_PLAIN else name
