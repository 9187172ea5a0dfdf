"""Which columns tell the rows of a sample apart: what the Kafka keys say, else a guess."""

from collections.abc import Sequence
from typing import Any

import orjson

from pista.contracts.dataset import Origin
from pista.contracts.guesses import EMAIL, IDENTITY
from pista.contracts.sampled import Field, Row, Sample, column_name, is_writable, parse_object, unwrapped

NEWEST = "the newest message of a key is its row"


def mark_key(fields: list[Field], sample: Sample) -> str:
    """Give the key columns their positions, and say how they were found. Without any, every message is a row.

    Fields of Kafka keys that the values lack are added to ``fields``.
    """
    keys = sample.keys
    documents = _documents(keys, sample.debezium)
    if documents is not None and _by_document(fields, documents, len(sample.rows)):
        return f"the Kafka key of every sampled message is a JSON object of this: {NEWEST}"
    for f in fields:
        if _is_whole(f, sample) and all(map(_matches, sample.keys, f.values)) and _are_keys(f, sample.deleted):
            f.position = 1
            f.deleted = [key.decode() for key in sample.deleted if key is not None]
            return f"the Kafka key of every sampled message is this field: {NEWEST}"
    if sample.deleted and all(key is not None and _is_text(key) for key in keys):
        name = column_name("key", [f.name for f in fields])
        texts: list[Any] = [key.decode() for key in keys if key is not None]
        alive = len(sample.rows)
        fields.insert(0, Field((), name, texts[:alive], Origin.KEY, position=1, deleted=texts[alive:]))
        return f"messages without value delete what has their Kafka key, so that is the key: {NEWEST}"
    if sample.deleted:
        return ""
    for f in fields:
        distinct = len(f.values) > 1 and _is_whole(f, sample) and len(set(f.values)) == len(f.values)
        if distinct and IDENTITY.fullmatch(f.name):
            f.position = 1
            return f"a guess by its name, and because no value came twice: {NEWEST}"
    return ""


def _documents(keys: Sequence[bytes | None], debezium: bool) -> list[Row] | None:
    """The keys as JSON objects of the same few fields; None if they are not."""
    found: list[Row] = []
    for key in keys:
        document = parse_object(key) if key is not None else None
        if document is not None and debezium:
            document = unwrapped(document)
        if not document or (found and document.keys() != found[0].keys()):
            return None
        if not all(is_writable(name) for name in document):
            return None
        found.append(document)
    usable = bool(found) and all({type(d[name]) for d in found} in ({str}, {int}) for name in found[0])
    return found if usable and all(_is_usable(value) for d in found for value in d.values()) else None


def _is_usable(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and "\x00" not in value
    return isinstance(value, int) and -(1 << 63) <= value < 1 << 63


def _by_document(fields: list[Field], documents: list[Row], rows: int) -> bool:
    """Mark the fields that the keys hold, or add them; keys of deletions stand behind those of the rows."""
    found: list[Field] = []
    for name in documents[0]:
        values = [document[name] for document in documents[:rows]]
        same = [f for f in fields if f.steps[-1:] == (name,) and f.values == values and f.kinds() <= {str, int}]
        if same:
            found.append(same[0])
        else:
            taken = [f.name for f in [*fields, *found]]
            found.append(Field((name,), column_name(name, taken), values, Origin.KEY))
    for position, f in enumerate(found, 1):
        f.position = position
        f.deleted = [document[str(f.steps[-1])] for document in documents[rows:]]
    fields[:0] = [f for f in found if f.origin is Origin.KEY]
    return True


def _is_whole(f: Field, sample: Sample) -> bool:
    """Whether every row has it, as a text or a whole number that may be a key."""
    if len(f.values) != len(sample.rows) or f.kinds() not in ({str}, {int}):
        return False
    if not all(is_writable(step) for step in f.steps if isinstance(step, str)):
        return False
    return all(map(_is_usable, f.values)) and not all(isinstance(v, str) and EMAIL.fullmatch(v) for v in f.values)


def _matches(key: bytes | None, value: str | int) -> bool:
    return key is not None and key == str(value).encode()


def _are_keys(f: Field, deleted: Sequence[bytes | None]) -> bool:
    """Whether the keys of deletions can be values of this field."""
    if not all(key is not None and _is_text(key) for key in deleted):
        return False
    if f.kinds() == {str}:
        return True
    try:
        return all(type(value := orjson.loads(key or b"")) is int and _is_usable(value) for key in deleted)
    except orjson.JSONDecodeError:
        return False


def _is_text(key: bytes) -> bool:
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return False
    return text != "" and "\x00" not in text and not text.lstrip().startswith("{")
