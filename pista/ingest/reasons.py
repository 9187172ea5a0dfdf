"""Why a record went to quarantine: each reason says what is wrong with it, for the person who reads the list."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pista.contracts.dataset import Column

SHOWN = 80  # characters of a refused value in a sentence


class Reason(StrEnum):
    """Reasons of quarantine; the value is what the table holds."""

    EMPTY_VALUE = "empty_value"  # zero bytes: neither an event nor a tombstone
    VALUE_TOO_LARGE = "value_too_large"  # over PISTA_VALUE_MAX_BYTES
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"  # not a JSON document, or cut off
    TWO_DOCUMENTS = "two_documents"  # more than one JSON document in one value
    NOT_AN_OBJECT = "not_an_object"  # JSON, but null, a number, a text or a list
    NULL_BYTE = "null_byte"  # PostgreSQL text cannot hold it
    MISSING_FIELD = "missing_field"  # a required field is absent or null
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NOT_IN_ENUM = "not_in_enum"
    WRONG_LENGTH = "wrong_length"
    PATTERN_MISMATCH = "pattern_mismatch"
    NONEXISTENT_TIME = "nonexistent_time"  # a local time that the clocks skipped
    TOMBSTONE_WITHOUT_KEY = "tombstone_without_key"  # a deletion that does not say of what
    UNKNOWN_FRAMING = "unknown_framing"  # what stands before the payload names no schema
    UNKNOWN_SCHEMA = "unknown_schema"  # the registry has no schema of that name
    UNDECODABLE = "undecodable"  # the payload is not of its schema
    UNKNOWN_CHANGE = "unknown_change"  # no change event of Debezium, or one that no row can follow
    DATABASE_REFUSED = "database_refused"  # PostgreSQL refused the row: the detail says why


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that cannot be loaded."""

    index: int  # of the record in its batch
    reason: Reason
    detail: str  # a sentence with the value and what would be valid
    column: str | None = None


class RejectedError(Exception):
    """Raised while one record is read; becomes its Rejection."""

    def __init__(self, reason: Reason, detail: str, column: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.column = column


def show(value: Any) -> str:
    """A value in a sentence, as JSON, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def wrong_type(column: Column, value: Any, valid: str) -> RejectedError:
    """The refusal of a value of another type or form than the column's."""
    return RejectedError(Reason.WRONG_TYPE, f"field {column.source!r} is {show(value)}; valid: {valid}", column.name)
