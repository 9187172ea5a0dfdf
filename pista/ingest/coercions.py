"""Values of another form than their column's: text that holds a number, counts since 1970, dates in other formats."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from pista.contracts.dataset import Coercion, Column, LogicalType, Origin
from pista.ingest.places import is_text
from pista.ingest.reasons import Reason, RejectedError, show, wrong_type

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MICROSECOND = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
NANOSECONDS = 1_000  # of a microsecond
BEYOND = 1e21  # more nanoseconds than 9999 years have
MICROSECONDS = {  # of one unit; a nanosecond is less than one
    Coercion.EPOCH_S: 1_000_000,
    Coercion.EPOCH_MS: 1_000,
    Coercion.EPOCH_US: 1,
    Coercion.EPOCH_DAYS: 86_400_000_000,
}
TYPED = (LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.BOOLEAN)
INSTANTS = (LogicalType.TIMESTAMP, LogicalType.DATE)


def coercion(column: Column) -> Coercion | None:
    """The contract's, or what the place implies: text of a header means its number, a record's time is in ms."""
    if column.coercion is None and column.logical_type in TYPED and is_text(column):
        return Coercion.TEXT
    if column.coercion is None and column.origin is Origin.RECORD and column.logical_type in INSTANTS:
        return Coercion.EPOCH_MS
    return column.coercion


def coerce(column: Column, value: Any) -> Any:
    """The value in the form of the column's type: a number or truth, a date, or a time with or without zone.

    An empty text where a number is meant is no value.

    Raises:
        RejectedError: the value is not of the form that the contract says.
    """
    if value is None:
        return None
    if column.time_format is not None:
        return _by_format(column, column.time_format, value)
    how = coercion(column)
    if how is None:
        return value
    if isinstance(value, str):
        value = _from_text(column, value)
    return value if how is Coercion.TEXT or value is None else _since_1970(column, how, value)


def _from_text(column: Column, text: str) -> Any:
    if text == "":
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, bool | int | float):
        raise wrong_type(column, text, "a text that holds a number or a boolean as JSON writes it")
    return value


def _since_1970(column: Column, how: Coercion, value: Any) -> datetime | date:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(column, value, f"a number ({how.value}: since 1970 in UTC)")
    if how is Coercion.EPOCH_DAYS and isinstance(value, float) and not value.is_integer():
        raise wrong_type(column, value, "a whole number of days since 1970-01-01")
    micros = None
    if abs(value) < BEYOND:
        micros = int(value // NANOSECONDS) if how is Coercion.EPOCH_NS else round(value * MICROSECONDS[how])
    if micros is None or not FIRST_MICROSECOND <= micros <= LAST_MICROSECOND:
        raise RejectedError(
            Reason.OUT_OF_RANGE,
            f"field {column.source!r} is {show(value)}; valid: a time between the years 1 and 9999 as {how.value}",
            column.name,
        )
    moment = EPOCH + timedelta(microseconds=micros)
    return moment.date() if column.logical_type is LogicalType.DATE else moment


def _by_format(column: Column, form: str, value: Any) -> datetime | date:
    if isinstance(value, str):
        try:
            moment = datetime.strptime(value, form)  # noqa: DTZ007 - the zone is the column's
        except ValueError:
            pass  # the same sentence
        else:
            if column.logical_type is LogicalType.DATE:
                return moment.date()
            if moment.tzinfo is not None or column.zone is not None:
                return moment
    raise wrong_type(column, value, f"text of the form {form}")
