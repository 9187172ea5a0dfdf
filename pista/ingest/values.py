"""One JSON value into one column: types, zones and the contract's rules, with a sentence for every refusal.

This is the definition of validity. ``columnar`` accepts a subset of it, faster, and with the same result.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from pista.contracts.dataset import Column, LogicalType
from pista.ingest.coercions import coerce
from pista.ingest.reasons import Reason, RejectedError, show, wrong_type

INTEGER_RANGES = {"smallint": 1 << 15, "integer": 1 << 31, "bigint": 1 << 63}
EXACT_FLOAT = 1 << 53  # above, a floating number no longer says which integer was meant
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?")
OFFSET_TIME = re.compile(LOCAL_TIME.pattern + r"(Z|[+-]\d{2}:?\d{2})")


def convert(column: Column, value: Any) -> tuple[Any, bool]:
    """The value as PostgreSQL shall store it, and whether it was a local time that exists twice.

    Args:
        column: what the contract says.
        value: as it stands in the record; None where it is absent.

    Raises:
        RejectedError: the value breaks the contract.
    """
    value = coerce(column, value)
    if value is None:
        if column.required:
            raise RejectedError(
                Reason.MISSING_FIELD, f"field {column.source!r} is required, but absent or null", column.name
            )
        return None, False
    ambiguous = False
    if column.logical_type is LogicalType.TIMESTAMP:
        converted, ambiguous = _timestamp(column, value)
    else:
        converted = CONVERTERS[column.logical_type](column, value)
    check_rules(column, converted)
    return converted, ambiguous


def check_rules(column: Column, value: Any) -> None:
    """Hold a converted value to the contract's enum, range, length and pattern."""
    if column.enum and value not in column.enum:
        valid = ", ".join(map(str, column.enum))
        raise RejectedError(
            Reason.NOT_IN_ENUM, f"field {column.source!r} is {show(value)}; valid: {valid}", column.name
        )
    low, high = bounds(column) if column.minimum is not None or column.maximum is not None else (None, None)
    if (low is not None and value < low) or (high is not None and value > high):
        raise RejectedError(
            Reason.OUT_OF_RANGE,
            f"field {column.source!r} is {show(value)}; valid: {_range(column.minimum, column.maximum)}",
            column.name,
        )
    if column.logical_type is LogicalType.STRING:
        _check_text(column, value)


def _check_text(column: Column, value: str) -> None:
    least, most = column.min_length or 0, column.max_length
    if len(value) < least or (most is not None and len(value) > most):
        raise RejectedError(
            Reason.WRONG_LENGTH,
            f"field {column.source!r} has {len(value)} characters; valid: {_range(least, most)}",
            column.name,
        )
    if column.pattern is not None and not re.fullmatch(column.pattern, value, re.ASCII):
        raise RejectedError(
            Reason.PATTERN_MISMATCH,
            f"field {column.source!r} is {show(value)}; valid: text that matches {column.pattern}",
            column.name,
        )


@lru_cache(maxsize=4096)
def bounds(column: Column) -> tuple[Any, Any]:
    """Least and greatest valid value, of the type that ``convert`` returns; None where there is no bound."""

    def parse(bound: float | str | None) -> Any:
        if bound is None or not isinstance(bound, str):
            return bound
        if column.logical_type is LogicalType.DATE:
            return date.fromisoformat(bound)
        moment = datetime.fromisoformat(bound)
        return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(column.zone or "UTC"))

    return parse(column.minimum), parse(column.maximum)


def _string(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(column, value, "a text")
    if "\x00" in value:
        raise RejectedError(Reason.NULL_BYTE, f"field {column.source!r} holds a null character", column.name)
    return value


def _integer(column: Column, value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
        value = int(value)  # pandas and JavaScript write 5 as 5.0
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(column, value, "a whole number")
    limit = INTEGER_RANGES[column.sql_type]
    if not -limit <= value < limit:
        raise RejectedError(
            Reason.OUT_OF_RANGE,
            f"field {column.source!r} is {value}; valid: {_range(-limit, limit - 1)} ({column.sql_type})",
            column.name,
        )
    return value


def _number(column: Column, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(column, value, "a number")
    return float(value)


def _boolean(column: Column, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(column, value, "true or false")
    return value


def _date(column: Column, value: Any) -> date:
    if isinstance(value, date):
        return value  # coerced
    if isinstance(value, str) and DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass  # well formed, but no such day: the same sentence
    raise wrong_type(column, value, "a date such as 2013-01-31")


def _timestamp(column: Column, value: Any) -> tuple[datetime, bool]:
    if isinstance(value, datetime):  # coerced
        try:
            return _localize(column, value) if value.tzinfo is None else (value.astimezone(UTC), False)
        except OverflowError:
            raise wrong_type(column, value, "a time between the years 1 and 9999") from None
    local = column.zone is not None
    grammar = LOCAL_TIME if local else OFFSET_TIME
    if isinstance(value, str) and grammar.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
            return _localize(column, moment) if local else (moment.astimezone(UTC), False)
        except (ValueError, OverflowError):
            pass  # well formed, but no such moment: the same sentence
    example = "2013-01-31T17:05:00" if local else "2013-01-31T17:05:00Z or 2013-01-31T17:05:00-05:00"
    raise wrong_type(column, value, f"a time such as {example}")


def _localize(column: Column, moment: datetime) -> tuple[datetime, bool]:
    zone = ZoneInfo(str(column.zone))
    first = moment.replace(tzinfo=zone, fold=0)
    utc = first.astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) != moment:
        raise RejectedError(
            Reason.NONEXISTENT_TIME,
            f"field {column.source!r} is {moment.isoformat()}, which the clocks of {column.zone} skipped",
            column.name,
        )
    return utc, first.utcoffset() != moment.replace(tzinfo=zone, fold=1).utcoffset()


def _range(low: object, high: object) -> str:
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"{low} to {high}"


def _nested(column: Column, value: Any) -> str:
    """An object or array as JSON text: what jsonb stores."""
    kind, name = (dict, "an object") if column.logical_type is LogicalType.OBJECT else (list, "an array")
    if not isinstance(value, kind):
        raise wrong_type(column, value, name)
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise RejectedError(
            Reason.WRONG_TYPE, f"field {column.source!r} cannot be stored as JSON: {error}", column.name
        ) from None
    if "\\u0000" in text and _has_null(value):
        raise RejectedError(Reason.NULL_BYTE, f"field {column.source!r} holds a null character", column.name)
    return text


def _has_null(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_null(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_has_null, value))


CONVERTERS: dict[LogicalType, Callable[[Column, Any], Any]] = {
    LogicalType.STRING: _string,
    LogicalType.INTEGER: _integer,
    LogicalType.NUMBER: _number,
    LogicalType.BOOLEAN: _boolean,
    LogicalType.DATE: _date,
    LogicalType.OBJECT: _nested,
    LogicalType.ARRAY: _nested,
}
