"""Records one by one: slower than ``columnar``, finds exactly the bad ones and says why each is bad."""

import json
from typing import Any

import orjson
import pyarrow as pa

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.ingest.arrow import Decoded, decoded, schema
from pista.ingest.reasons import Reason, RejectedError, Rejection
from pista.ingest.values import convert, show
from pista.kafka.records import Record, Records


def decode_rowwise(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of the good records, rejections of the others."""
    columns: dict[str, list[Any]] = {column.name: [] for column in dataset.columns}
    tombstones: list[bool] = []
    index: list[int] = []
    rejections: list[Rejection] = []
    ambiguous = 0
    for position, record in enumerate(records):
        try:
            row, twice = decode_record(dataset, record, value_max_bytes)
        except RejectedError as error:
            rejections.append(Rejection(position, error.reason, error.detail, error.column))
            continue
        index.append(position)
        tombstones.append(record.value is None)
        ambiguous += twice
        for name, values in columns.items():
            values.append(row[name])
    arrays = [pa.array(columns[field.name], field.type) for field in schema(dataset)]
    return decoded(dataset, arrays, tombstones, index, rejections, ambiguous)


def decode_record(dataset: Dataset, record: Record, value_max_bytes: int) -> tuple[dict[str, Any], int]:
    """One record as a row by column name, and how many of its local times exist twice.

    Raises:
        RejectedError: the record breaks the contract.
    """
    if record.value is None:
        return _tombstone(dataset, record), 0
    document = parse(record.value, value_max_bytes)
    row, ambiguous = {}, 0
    for column in dataset.columns:
        row[column.name], twice = convert(column, document.get(column.source))
        ambiguous += twice
    return row, ambiguous


def parse(value: bytes, value_max_bytes: int) -> dict[str, Any]:
    """The one JSON object that a message value must be."""
    if not value:
        raise RejectedError(Reason.EMPTY_VALUE, "the value has no bytes; valid: one JSON object, or null to delete")
    if len(value) > value_max_bytes:
        raise RejectedError(
            Reason.VALUE_TOO_LARGE, f"the value has {len(value)} bytes; valid: at most {value_max_bytes}"
        )
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


def _syntax(text: str, error: orjson.JSONDecodeError) -> RejectedError:
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (json.JSONDecodeError, RecursionError):
        return RejectedError(Reason.NOT_JSON, f"the value is not JSON: {error.msg} ({show(text)})")
    rest = text.lstrip()[end:].strip()
    if rest.startswith(("{", "[")):
        return RejectedError(Reason.TWO_DOCUMENTS, f"a second JSON document starts after the first: {show(rest)}")
    return RejectedError(Reason.NOT_JSON, f"the value is not JSON: {error.msg} ({show(text)})")


def _tombstone(dataset: Dataset, record: Record) -> dict[str, Any]:
    if dataset.kind is not Kind.UPSERT:
        raise RejectedError(
            Reason.EMPTY_VALUE, "the value is null, which deletes a row; rows of this dataset are never deleted"
        )
    row: dict[str, Any] = {column.name: None for column in dataset.columns}
    row.update(_key(dataset, record.key))
    return row


def _key(dataset: Dataset, key: bytes | None) -> dict[str, Any]:
    columns = [dataset.column(name) for name in dataset.key]
    try:
        text = (key or b"").decode()
        values = [text] if len(columns) == 1 else [orjson.loads(text).get(column.source) for column in columns]
        return {
            column.name: convert(column, _from_text(column, value))[0]
            for column, value in zip(columns, values, strict=True)
        }
    except (UnicodeDecodeError, orjson.JSONDecodeError, AttributeError, ValueError, RejectedError):
        names = ", ".join(column.source for column in columns)
        valid = f"the {names} as text" if len(columns) == 1 else f"a JSON object with {names}"
        raise RejectedError(
            Reason.TOMBSTONE_WITHOUT_KEY, f"a deletion has the Kafka key {show(repr(key))}; valid: {valid}"
        ) from None


def _from_text(column: Column, value: Any) -> Any:
    """A Kafka key is text: numbers and booleans in it are read as JSON."""
    if isinstance(value, str) and column.logical_type in (
        LogicalType.INTEGER,
        LogicalType.NUMBER,
        LogicalType.BOOLEAN,
    ):
        return orjson.loads(value)
    return value if value != "" else None
