"""Records one by one: slower than ``columnar``, finds exactly the bad ones and says why each is bad."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, Origin
from pista.ingest import debezium, filters
from pista.ingest.arrow import Decoded, decoded, schema
from pista.ingest.places import Opened, follow, steps
from pista.ingest.reasons import Reason, RejectedError, Rejection, show
from pista.ingest.values import convert
from pista.kafka.records import Record, Records


@dataclass(frozen=True, slots=True)
class Row:
    """One record as a row."""

    values: Mapping[str, Any]  # by column name
    tombstone: bool = False
    ambiguous: int = 0  # local times that exist twice


def decode_rowwise(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of the good records, rejections of the others, and which ones belong to others."""
    columns: dict[str, list[Any]] = {column.name: [] for column in dataset.columns}
    tombstones: list[bool] = []
    index: list[int] = []
    filtered: list[int] = []
    rejections: list[Rejection] = []
    ambiguous = 0
    for position, record in enumerate(records):
        try:
            row = decode_record(dataset, record, value_max_bytes)
        except RejectedError as error:
            rejections.append(Rejection(position, error.reason, error.detail, error.column))
            continue
        if row is None:
            filtered.append(position)
            continue
        index.append(position)
        tombstones.append(row.tombstone)
        ambiguous += row.ambiguous
        for name, values in columns.items():
            values.append(row.values[name])
    arrays = [pa.array(columns[field.name], field.type) for field in schema(dataset)]
    return decoded(dataset, arrays, tombstones, index, rejections, ambiguous, filtered)


def decode_record(dataset: Dataset, record: Record, value_max_bytes: int) -> Row | None:
    """One record as a row; None where it is not the dataset's.

    Raises:
        RejectedError: the record breaks the contract.
    """
    outer, inner = filters.split(dataset)
    if outer and not filters.hold(outer, Opened(dataset, record, None)):
        return None
    if record.value is None:
        return _tombstone(dataset, Opened(dataset, record, None), record.key)
    document = parse(record.value, value_max_bytes)
    change = debezium.unwrap(document) if dataset.debezium else debezium.Change(document, deletes=False)
    if change is None:
        return None
    opened = Opened(dataset, record, change.row)
    if change.row is not None and not filters.hold(inner, opened):
        return None
    return _tombstone(dataset, opened, record.key, change.row) if change.deletes else _row(dataset, opened)


def _read(column: Column, opened: Opened) -> tuple[Any, bool]:
    try:
        return convert(column, opened.at(column))
    except RejectedError as error:
        raise RejectedError(error.reason, error.detail, column.name) from None


def _row(dataset: Dataset, opened: Opened) -> Row:
    values, ambiguous = {}, 0
    for column in dataset.columns:
        values[column.name], twice = _read(column, opened)
        ambiguous += twice
    for column in dataset.dropped:
        _read(column, opened)
    return Row(values, ambiguous=ambiguous)


def parse(value: bytes, value_max_bytes: int) -> dict[str, Any]:
    """The one JSON object that a message value must be."""
    if not value:
        raise RejectedError(Reason.EMPTY_VALUE, "the value has no bytes; valid: one JSON object, or null to delete")
    if len(value) > value_max_bytes:
        raise RejectedError(Reason.VALUE_TOO_LARGE, too_large(len(value), value_max_bytes))
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise RejectedError(
            Reason.NOT_UTF8, f"byte {error.start} of the value is 0x{value[error.start]:02x}, which is not UTF-8"
        ) from None
    if "\x00" in text:
        raise RejectedError(Reason.NULL_BYTE, f"byte {value.index(0)} of the value is a null byte")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _syntax(text, error) from None
    if not isinstance(document, dict):
        raise RejectedError(Reason.NOT_AN_OBJECT, f"the value is {show(document)}; valid: one JSON object")
    return document


def too_large(size: int, limit: int) -> str:
    """The sentence about a value of too many bytes."""
    return f"the value has {size} bytes; valid: at most {limit}"


def _syntax(text: str, error: orjson.JSONDecodeError) -> RejectedError:
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (json.JSONDecodeError, RecursionError):
        return RejectedError(Reason.NOT_JSON, f"the value is not JSON: {error.msg} ({show(text)})")
    rest = text.lstrip()[end:].strip()
    if rest.startswith(("{", "[")):
        return RejectedError(Reason.TWO_DOCUMENTS, f"a second JSON document starts after the first: {show(rest)}")
    return RejectedError(Reason.NOT_JSON, f"the value is not JSON: {error.msg} ({show(text)})")


def _tombstone(dataset: Dataset, opened: Opened, key: bytes | None, before: Mapping[str, Any] | None = None) -> Row:
    if dataset.kind is not Kind.UPSERT:
        raise RejectedError(
            Reason.EMPTY_VALUE, "the value is null, which deletes a row; rows of this dataset are never deleted"
        )
    row: dict[str, Any] = {column.name: None for column in dataset.columns}
    columns = [dataset.column(name) for name in dataset.key]
    try:
        for column in columns:
            value = _key_value(column, opened, key, before, alone=len(columns) == 1)
            row[column.name] = convert(column, value)[0]
            if row[column.name] is None:
                raise ValueError(column.name)
    except (UnicodeDecodeError, orjson.JSONDecodeError, ValueError, RejectedError):
        names = ", ".join(column.source for column in columns)
        valid = f"the {names} as text, or a JSON object with it" if len(columns) == 1 else f"a JSON object with {names}"
        raise RejectedError(
            Reason.TOMBSTONE_WITHOUT_KEY, f"a deletion has the Kafka key {show(repr(key))}; valid: {valid}"
        ) from None
    return Row(row, tombstone=True)


def _key_value(
    column: Column, opened: Opened, key: bytes | None, before: Mapping[str, Any] | None, *, alone: bool
) -> Any:
    """What a deletion says of a key column: in the row before, or in the Kafka key."""
    if column.origin is not Origin.VALUE:
        return opened.at(column)
    if before is not None and (value := follow(before, steps(column), column.source)) is not None:
        return value
    if (key or b"").lstrip().startswith(b"{"):
        found = find_in_key(column, opened)
        if found is not None or not alone:
            return _from_text(column, found)
    elif not alone:
        raise ValueError(column.name)
    return _from_text(column, (key or b"").decode())


def find_in_key(column: Column, opened: Opened) -> Any:
    """The value of a column in a Kafka key that is a JSON object: at its path in the value, or under its own name."""
    document = opened.key_document()
    if not isinstance(document, dict):
        return None
    whole = follow(document, steps(column), column.source) if steps(column)[0] in document else None
    return whole if whole is not None else document.get(str(steps(column)[-1]))


def _from_text(column: Column, value: Any) -> Any:
    """A Kafka key is text: numbers and booleans in it are read as JSON."""
    if isinstance(value, str) and column.logical_type in (
        LogicalType.INTEGER,
        LogicalType.NUMBER,
        LogicalType.BOOLEAN,
    ):
        return orjson.loads(value)
    return value if value != "" else None
