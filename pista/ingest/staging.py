"""Columns as the lines that COPY reads, without a look at each value.

COPY's CSV with control characters as delimiter, quote and null: next to no text holds any, so next to no text must
be quoted, and JSON keeps its quotes and backslashes as they are.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pista.ingest.arrow import MOMENT
from pista.warehouse.merging import DELIMITER, NULL, QUOTE

FIRST_PRINTABLE = 0x20


def lines(columns: Sequence[pa.Array | pa.ChunkedArray]) -> memoryview:
    """The rows of these columns as one buffer of lines; the last column is never null."""
    texts = [_text(column) for column in columns]
    texts[-1] = pc.binary_join_element_wise(texts[-1], "\n", "")
    return _data(pc.binary_join_element_wise(*texts, DELIMITER, null_handling="replace", null_replacement=NULL))


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.type == MOMENT:
        # without the zone, for formatting with one costs forty times as much
        return pc.binary_join_element_wise(array.cast(pa.timestamp("us")).cast(pa.string()), "Z", "")
    if array.type != pa.string():
        return array.cast(pa.string())
    return _quoted(array) if (np.frombuffer(_data(array), np.uint8) < FIRST_PRINTABLE).any() else array


def _quoted(array: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(QUOTE, pc.replace_substring(array, QUOTE, QUOTE + QUOTE), QUOTE, "")


def _data(array: pa.Array) -> memoryview:
    """The bytes of all its texts, one after the other."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    bounds = np.frombuffer(offsets, np.int32)[[array.offset, array.offset + len(array)]]
    return memoryview(data)[bounds[0] : bounds[1]]


def bytea(values: Sequence[bytes | None]) -> pa.Array:
    """Bytes as PostgreSQL's text form of them: as they are, where they are text without a backslash, else in hex."""
    array = pa.array(values, pa.binary())
    data = bytes(_data(array))
    if data.isascii() and b"\\" not in data and b"\x00" not in data:
        return array.cast(pa.string())
    return pa.array([None if value is None else "\\x" + value.hex() for value in values], pa.string())


def moments(milliseconds: np.ndarray) -> pa.Array:
    """Milliseconds since 1970 as times in UTC."""
    return pa.array(milliseconds * 1000).cast(MOMENT)
