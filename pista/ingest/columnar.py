"""A whole batch at once with pyarrow, behind a gate; None where any record is not plainly good.

The gate is there because pyarrow's JSON reader crashes on a batch that starts with ``null``, loads a
later ``null`` as an empty row, and shifts rows when a value holds two documents. What it lets through
must decode as ``rowwise`` would decode it; what it refuses is no verdict, only slower.
"""

import io
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pista.contracts.dataset import Column, Dataset, LogicalType
from pista.ingest.arrow import MOMENT, Decoded, decoded
from pista.ingest.values import INTEGER_RANGES, bounds
from pista.kafka.records import Records

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
FIRST_DAY = pa.scalar(date.min)
FIRST_MOMENT = pa.scalar(datetime.min.replace(tzinfo=UTC), MOMENT)
LAST_MOMENT = pa.scalar(datetime.max.replace(tzinfo=UTC), MOMENT)
# pyarrow knows no daylight saving time after 2037
LAST_LOCAL = pa.scalar(datetime(2037, 12, 31), pa.timestamp("us"))  # noqa: DTZ001 - a local time
# a null character, half a surrogate pair, and what pyarrow takes for numbers though JSON does not
ESCAPES = (b"\\u0000", b"\\ud", b"\\uD", b"NaN", b"Infinity", b"Inf")


class NotColumnarError(Exception):
    """Some record of the batch needs a look of its own."""


def decode_columnar(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded | None:
    """Rows of a batch whose every record is plainly good, else None."""
    try:
        table = _read(dataset, _gate(records, value_max_bytes), len(records))
        arrays, ambiguous = [], 0
        for column in dataset.columns:
            array, twice = _convert(column, table[column.source].combine_chunks())
            arrays.append(array)
            ambiguous += twice
    except (NotColumnarError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return decoded(dataset, arrays, pa.repeat(False, len(records)), np.arange(len(records)), [], ambiguous)


def _gate(records: Records, value_max_bytes: int) -> bytes:
    """The values as lines, if each is one line that starts and ends as an object does."""
    values = records.values
    if not values or None in values or max(map(len, values)) > value_max_bytes:  # type: ignore[arg-type]
        raise NotColumnarError
    lines = b"\n".join(values)  # type: ignore[arg-type]
    seams = len(values) - 1
    if (
        lines.count(b"\n") != seams
        or lines.count(b"}\n{") != seams
        or not (lines.startswith(b"{") and lines.endswith(b"}"))
        or b"\x00" in lines
        or any(escape in lines for escape in ESCAPES)
    ):
        raise NotColumnarError
    try:
        lines.decode()
    except UnicodeDecodeError:
        raise NotColumnarError from None
    return lines


def _read(dataset: Dataset, lines: bytes, count: int) -> pa.Table:
    fields = {column.source: READ_TYPES[column.logical_type] for column in dataset.columns}
    table = pyarrow.json.read_json(
        io.BytesIO(lines),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
        ),
    )
    if table.num_rows != count:
        raise NotColumnarError
    return table


def _convert(column: Column, array: pa.Array) -> tuple[pa.Array, int]:
    if column.required and array.null_count:
        raise NotColumnarError
    ambiguous = 0
    match column.logical_type:
        case LogicalType.INTEGER:
            limit = INTEGER_RANGES[column.sql_type]
            _all(pc.and_(pc.greater_equal(array, -limit), pc.less_equal(array, limit - 1)))
        case LogicalType.NUMBER:
            _all(pc.is_finite(array))
        case LogicalType.DATE:
            _all(pc.match_substring_regex(array, DATE))
            array = array.cast(pa.date32())
            _all(pc.greater_equal(array, FIRST_DAY))
        case LogicalType.TIMESTAMP:
            array, ambiguous = _moments(column, array)
    _check_rules(column, array)
    return array, ambiguous


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
        raise NotColumnarError
