"""A column of values at once: what ``values`` and ``coercions`` do to one, for the plain cases.

What is accepted here has the same result there; what is refused is no verdict, only slower.
"""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pista.contracts.dataset import Coercion, Column, LogicalType
from pista.ingest.arrow import MOMENT, TYPES
from pista.ingest.coercions import (
    FIRST_MICROSECOND,
    LAST_MICROSECOND,
    MICROSECONDS,
    NANOSECONDS,
    coercion,
)
from pista.ingest.gate import NotColumnarError
from pista.ingest.places import is_text
from pista.ingest.reasons import RejectedError
from pista.ingest.values import INTEGER_RANGES, bounds, convert

# what the values of a field are read as, before zones, ranges and dates
READ_TYPES = {
    LogicalType.STRING: pa.string(),
    LogicalType.INTEGER: pa.int64(),
    LogicalType.NUMBER: pa.float64(),
    LogicalType.BOOLEAN: pa.bool_(),
    LogicalType.TIMESTAMP: pa.string(),
    LogicalType.DATE: pa.string(),
}
DATE = r"^\d{4}-\d{2}-\d{2}$"
LOCAL_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?$"
OFFSET_TIME = LOCAL_TIME[:-1] + r"(Z|[+-]\d{2}:\d{2})$"
INTEGER_TEXT = r"^(0|-?[1-9]\d{0,17})$"
NUMBER_TEXT = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"
FIRST_DAY = pa.scalar(date.min)
FIRST_MOMENT = pa.scalar(datetime.min.replace(tzinfo=UTC), MOMENT)
LAST_MOMENT = pa.scalar(datetime.max.replace(tzinfo=UTC), MOMENT)
# pyarrow knows no daylight saving time after 2037
LAST_LOCAL = pa.scalar(datetime(2037, 12, 31), pa.timestamp("us"))  # noqa: DTZ001 - a local time


def read_type(column: Column) -> pa.DataType | None:
    """The Arrow type that a column's values are read as; None where only Python can read them."""
    if column.logical_type not in READ_TYPES:
        return None
    how = coercion(column)
    if column.time_format is not None or how is Coercion.TEXT or is_text(column):
        return pa.string()
    return READ_TYPES[column.logical_type] if how is None else pa.int64()


def convert_array(column: Column, array: pa.Array) -> tuple[pa.Array, int]:
    """The values as PostgreSQL shall store them, and how many were local times that exist twice.

    Raises:
        NotColumnarError: some value is not good, or not plainly good.
        pyarrow.ArrowInvalid: likewise.
    """
    if array.type != read_type(column):
        raise NotColumnarError
    if column.time_format is None:
        try:
            return _convert(column, array)
        except (NotColumnarError, pa.ArrowInvalid):
            if array.type != pa.string():
                raise
    return _by_distinct(column, array)


def _convert(column: Column, array: pa.Array) -> tuple[pa.Array, int]:
    array = _coerced(column, array)
    if column.required and array.null_count:
        raise NotColumnarError(_places(pc.is_null(array)))
    ambiguous = 0
    match column.logical_type:
        case LogicalType.INTEGER:
            _check_integers(column, array)
        case LogicalType.NUMBER:
            _all(pc.is_finite(array))
        case LogicalType.DATE if array.type != pa.date32():
            _all(pc.match_substring_regex(array, DATE))
            array = array.cast(pa.date32())
            _all(pc.greater_equal(array, FIRST_DAY))
        case LogicalType.TIMESTAMP if array.type != MOMENT:
            array, ambiguous = _moments(column, array)
    _check_rules(column, array)
    return array, ambiguous


def _coerced(column: Column, array: pa.Array) -> pa.Array:
    how = coercion(column)
    if how is None:
        return array
    if array.type == pa.string():
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
        array = _numbers(column.logical_type if how is Coercion.TEXT else LogicalType.INTEGER, array)
    return array if how is Coercion.TEXT else _since_1970(column, how, array)


def _numbers(kind: LogicalType, array: pa.Array) -> pa.Array:
    if kind is LogicalType.BOOLEAN:
        _all(pc.or_kleene(pc.is_in(array, pa.array(["true", "false"])), pc.is_null(array)))
        return pc.if_else(pc.is_valid(array), pc.equal(array, "true"), None)
    _all(pc.match_substring_regex(array, INTEGER_TEXT if kind is LogicalType.INTEGER else NUMBER_TEXT))
    _all(pc.not_equal(array, "-0"))  # which JSON reads as a whole number, that has no sign at zero
    return array.cast(READ_TYPES[kind])


def _since_1970(column: Column, how: Coercion, array: pa.Array) -> pa.Array:
    if how is Coercion.EPOCH_NS:
        floor = np.floor_divide(array.fill_null(0).to_numpy(zero_copy_only=False), NANOSECONDS)
        micros = pa.array(floor, mask=pc.is_null(array).to_numpy(zero_copy_only=False))
    else:
        micros = pc.multiply_checked(array, pa.scalar(MICROSECONDS[how], pa.int64()))
    _check_range(micros, FIRST_MICROSECOND, LAST_MICROSECOND)
    if column.logical_type is LogicalType.DATE:
        days = np.floor_divide(micros.fill_null(0).to_numpy(zero_copy_only=False), MICROSECONDS[Coercion.EPOCH_DAYS])
        mask = pc.is_null(micros).to_numpy(zero_copy_only=False)
        return pa.array(days.astype(np.int32), mask=mask).cast(pa.date32())
    return micros.cast(MOMENT)


def _by_distinct(column: Column, array: pa.Array) -> tuple[pa.Array, int]:
    """Each distinct text once by the definition: times repeat, and not every form of them has a columnar equal."""
    if column.required and array.null_count:
        raise NotColumnarError(_places(pc.is_null(array)))
    coded = array.dictionary_encode()
    values, twice, bad = [], [], []
    for code, text in enumerate(coded.dictionary.to_pylist()):
        value, ambiguous = None, False
        try:
            value, ambiguous = convert(column, text)
        except RejectedError:
            bad.append(code)
        values.append(value)
        twice.append(ambiguous)
    if bad:
        raise NotColumnarError(_places(pc.is_in(coded.indices, pa.array(bad, coded.indices.type))))
    found = pa.array(values, TYPES[column.logical_type]).take(coded.indices)
    if column.required and found.null_count:  # an empty text may be no value
        raise NotColumnarError(_places(pc.is_null(found)))
    return found, pc.sum(pa.array(twice, pa.bool_()).take(coded.indices)).as_py() or 0


def _check_integers(column: Column, array: pa.Array) -> None:
    limit = INTEGER_RANGES[column.sql_type]
    if limit < 1 << 63:
        _check_range(array, -limit, limit - 1)


def _check_range(array: pa.Array, least: int, greatest: int) -> None:
    found = pc.min_max(array).as_py()
    if found["min"] is not None and (found["min"] < least or found["max"] > greatest):
        _all(pc.and_(pc.greater_equal(array, least), pc.less_equal(array, greatest)))


def _moments(column: Column, array: pa.Array) -> tuple[pa.Array, int]:
    twice = 0
    if column.zone is None:
        _all(pc.match_substring_regex(array, OFFSET_TIME))
        moments = array.cast(MOMENT)
    else:
        _all(pc.match_substring_regex(array, LOCAL_TIME))
        local = array.cast(pa.timestamp("us"))
        _all(pc.less(local, LAST_LOCAL))
        first = pc.assume_timezone(local, column.zone, ambiguous="earliest", nonexistent="raise")
        last = pc.assume_timezone(local, column.zone, ambiguous="latest", nonexistent="raise")
        twice = pc.sum(pc.not_equal(first, last)).as_py() or 0
        moments = first.cast(MOMENT)
    # an offset can lead out of the years that Python and PostgreSQL's text form know
    _all(pc.and_(pc.greater_equal(moments, FIRST_MOMENT), pc.less_equal(moments, LAST_MOMENT)))
    return moments, twice


def _check_rules(column: Column, array: pa.Array) -> None:
    if column.enum:
        _all(pc.or_kleene(pc.is_in(array, pa.array(column.enum, array.type)), pc.is_null(array)))
    low, high = bounds(column)
    if low is not None:
        _all(pc.greater_equal(array, pa.scalar(low).cast(array.type)))
    if high is not None:
        _all(pc.less_equal(array, pa.scalar(high).cast(array.type)))
    if column.min_length is not None:
        _all(pc.greater_equal(pc.utf8_length(array), column.min_length))
    if column.max_length is not None:
        _all(pc.less_equal(pc.utf8_length(array), column.max_length))
    if column.pattern is not None:
        _all(pc.match_substring_regex(array, rf"^(?:{column.pattern})\z"))


def _all(truth: pa.Array) -> None:
    """Every value that is not null is true."""
    if pc.all(truth, skip_nulls=True, min_count=0).as_py() is False:
        raise NotColumnarError(_places(pc.invert(truth)))


def _places(truth: pa.Array) -> np.ndarray:
    return np.flatnonzero(truth.fill_null(False).to_numpy(zero_copy_only=False))
