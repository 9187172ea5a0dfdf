"""Which columns tell the rows of a sample apart: what the Kafka keys say, else a guess."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from pista.contracts.dataset import Origin
from pista.contracts.guesses import EMAIL, IDENTITY
from pista.contracts.sampled import Field, Row, Sample, column_name, is_few, is_writable, parse_object, unwrapped

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
        usable = _usable(f, sample)
        same = sum(_matches(sample.keys[row], value) for row, value in usable)
        if _is_most(same, sample) and _are_keys(type(usable[0][1]), sample.deleted):
            f.position = 1
            f.deleted = [key.decode() for key in sample.deleted if key is not None]
            whole = same == len(sample.rows)
            whose = "every sampled message" if whole else f"{same} of {len(sample.rows)} sampled messages"
            return f"the Kafka key of {whose} is this field: {NEWEST}"
    if sample.deleted and all(key is not None and _is_text(key) for key in keys):
        name = column_name("key", [f.name for f in fields])
        texts: list[Any] = [key.decode() for key in keys if key is not None]
        alive = len(sample.rows)
        key_field = Field((), name, texts[:alive], Origin.KEY, position=1, deleted=texts[alive:], rows=[*range(alive)])
        fields.insert(0, key_field)
        return f"messages without value delete what has their Kafka key, so that is the key: {NEWEST}"
    if sample.deleted:
        return ""
    for f in fields:
        usable = _usable(f, sample) if IDENTITY.fullmatch(f.name) else []
        if len(usable) > 1 and _is_most(len(usable), sample) and len({value for _, value in usable}) == len(usable):
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
            found.append(Field((name,), column_name(name, taken), values, Origin.KEY, rows=[*range(rows)]))
    for position, f in enumerate(found, 1):
        f.position = position
        f.deleted = [document[str(f.steps[-1])] for document in documents[rows:]]
    fields[:0] = [f for f in found if f.origin is Origin.KEY]
    return True


def _usable(f: Field, sample: Sample) -> list[tuple[int, str | int]]:
    """Rows, and the text or whole number that may be their key: of the type that most have; none of addresses."""
    if not f.values or not all(is_writable(step) for step in f.steps if isinstance(step, str)):
        return []
    kind = Counter(map(type, f.values)).most_common(1)[0][0]
    if kind not in (str, int):
        return []
    found = [(row, v) for row, v in zip(f.rows, f.values, strict=True) if type(v) is kind and _is_usable(v)]
    return [] if all(isinstance(v, str) and EMAIL.fullmatch(v) for _, v in found) else found


def _is_most(count: int, sample: Sample) -> bool:
    """Whether so many rows are all of them, but for a few that may be broken."""
    total = len(sample.rows)
    return count == total or is_few(total - count, total)


def _matches(key: bytes | None, value: str | int) -> bool:
    return key is not None and key == str(value).encode()


def _are_keys(kind: type, deleted: Sequence[bytes | None]) -> bool:
    """Whether the keys of deletions can be values of a field of texts, or of whole numbers."""
    if not all(key is not None and _is_text(key) for key in deleted):
        return False
    if kind is str:
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
