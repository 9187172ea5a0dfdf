"""JSON objects to Arrow columns with pyarrow's reader, behind a gate.

The gate is there because that reader crashes on a batch that starts with ``null``, loads a later
``null`` as an empty row, and shifts rows when a value holds two documents. It costs a few passes over the bytes.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

Tree = dict[str, Any]  # field name -> Arrow type, or the tree of an object

BLOCK = 1 << 18  # bytes looked at together: they stay in the processor's cache
# a null character, and half a surrogate pair
ESCAPES = (b"\\u0000", b"\\ud", b"\\uD")
# what pyarrow takes for numbers though JSON does not, and where they would stand for one
NO_NUMBERS = (b"NaN", b"Inf")
NO_NUMBER = re.compile(rb"[:,\[\-\s](NaN|Inf(inity)?)[,}\]\s]")
OPEN, CLOSE = b"{}"


class NotColumnarError(Exception):
    """Some records of the batch need a look of their own; ``suspects`` are their places where they are known."""

    def __init__(self, suspects: np.ndarray | None = None) -> None:
        super().__init__()
        self.suspects = suspects


def join_objects(values: Sequence[bytes | None], value_max_bytes: int) -> bytes:
    """The values as lines, if each is one line of UTF-8 that starts and ends as an object does.

    Raises:
        NotColumnarError: some value may be no JSON object.
    """
    if not values or None in values:
        raise NotColumnarError
    lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    if lengths.max() > value_max_bytes or lengths.min() < len("{}"):
        raise NotColumnarError
    lines = b"\n".join(values)  # type: ignore[arg-type]
    array = np.frombuffer(lines, np.uint8)
    ends = np.cumsum(lengths + 1) - 1  # where the newlines are
    if (
        lines.count(b"\n") != len(values) - 1
        or not np.all(array[ends - lengths] == OPEN)
        or not np.all(array[ends - 1] == CLOSE)
        or b"\x00" in lines
        or (b"\\" in lines and any(escape in lines for escape in ESCAPES))
        or any(NO_NUMBER.match(lines, place - 1) for word in NO_NUMBERS for place in _find(array, word))
    ):
        raise NotColumnarError
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError:
            raise NotColumnarError from None
    return lines


def _find(array: np.ndarray, word: bytes) -> Iterator[int]:
    """Where the bytes hold a short word: three times as fast as ``find``, which stops at every first letter."""
    last = len(word) - 1
    for start in range(0, len(array) - last, BLOCK):
        end = min(start + BLOCK, len(array) - last)
        found = array[start:end] == word[0]
        for place in range(1, len(word)):
            found &= array[start + place : end + place] == word[place]
        if found.any():
            yield from (start + np.flatnonzero(found)).tolist()


def read_fields(lines: bytes, tree: Tree, count: int) -> pa.Table:
    """Fields of JSON objects as columns; what the tree does not name is left out.

    Raises:
        NotColumnarError: not as many objects as lines.
        pyarrow.ArrowInvalid: some line is no JSON, or a field has another type.
    """
    table = pyarrow.json.read_json(
        pa.BufferReader(lines),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(_fields(tree)), unexpected_field_behavior="ignore"
        ),
    )
    if table.num_rows != count:
        raise NotColumnarError
    return table


def _fields(tree: Tree) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(kind)) if isinstance(kind, dict) else kind) for name, kind in tree.items()]


def plant(tree: Tree, way: Sequence[str], kind: pa.DataType) -> bool:
    """Have a field read at the end of the way; False where the tree has it as something else."""
    *parents, name = way
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            return False
        tree = below
    return bool(tree.setdefault(name, kind) == kind)


def field_at(table: pa.Table, way: Sequence[str]) -> pa.Array:
    """A field that was read; null where an object on the way is."""
    array = table[way[0]].combine_chunks()
    for name in way[1:]:
        array = pc.struct_field(array, [array.type.get_field_index(name)])
    return array
