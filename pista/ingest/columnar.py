"""A whole batch at once with pyarrow, if every record is plainly good.

What this path takes decodes as ``rowwise`` would decode it; what it refuses is no verdict, only slower. Objects and
arrays that are stored whole, and places within arrays, are read by ``rowwise``'s own functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pista.contracts.dataset import Column, Dataset, Filter, Origin
from pista.ingest import debezium, filters
from pista.ingest.arrow import TYPES, Decoded, combine, decoded, left_out
from pista.ingest.gate import NotColumnarError, Tree, field_at, join_objects, plant, read_fields
from pista.ingest.places import Opened, follow, is_text, last_header, steps
from pista.ingest.reasons import RejectedError
from pista.ingest.rowwise import decode_rowwise, parse
from pista.ingest.values import convert
from pista.ingest.vector import convert_array, read_type
from pista.kafka.records import Records

Way = tuple[str, ...]
FILTER_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64()}


def decode_columnar(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of a batch whose every record is plainly good; filters by key and headers are taken to hold already.

    Raises:
        NotColumnarError: some record is not plainly good.
    """
    try:
        return _decode(dataset, records, value_max_bytes)
    except (RejectedError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise NotColumnarError from None


def _decode(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    lines = join_objects(records.values, value_max_bytes)
    above = _above(dataset, records)
    parts: list[tuple[np.ndarray, Decoded]] = []
    places = np.arange(len(records))
    _, conditions = filters.split(dataset)
    if conditions or dataset.debezium:
        ours, odd = _choose(dataset, conditions, above, lines, len(records))
        parts.append((np.flatnonzero(odd), decode_rowwise(dataset, records.take(np.flatnonzero(odd)), value_max_bytes)))
        others = np.flatnonzero(~ours & ~odd)
        parts.append((others, left_out(dataset, len(others))))
        if not ours.all():
            places = np.flatnonzero(ours)
            records = records.take(places)
            lines = b"\n".join(records.values)  # type: ignore[arg-type]
    if len(records):
        try:
            arrays, ambiguous = _Batch(dataset, records, lines, above).arrays()
        except NotColumnarError as error:
            raise NotColumnarError(None if error.suspects is None else places[error.suspects]) from None
        rows = decoded(dataset, arrays, pa.repeat(False, len(records)), np.arange(len(records)), [], ambiguous)
        parts.append((places, rows))
    return combine(parts)


def _above(dataset: Dataset, records: Records) -> Way:
    """The way to the row in a value; a batch in which some events are wrapped and others are not is not plain."""
    if not dataset.debezium:
        return ()
    first = records.values[0] or b""
    wrapped = debezium.is_wrapped(parse(first, len(first)))
    return ("payload", "after") if wrapped else ("after",)


def _choose(
    dataset: Dataset, conditions: list[Filter], above: Way, lines: bytes, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which records are rows of this dataset, and which need a look of their own, for they may delete one."""
    tree: Tree = {}
    operation = (*above[:-1], "op")
    if dataset.debezium:
        plant(tree, operation, pa.string())
    ways = []
    for condition in conditions:
        way = _plain_way(condition)
        kinds = {type(value) for value in condition.values if value is not None}
        kind = FILTER_TYPES.get(kinds.pop()) if len(kinds) == 1 else None
        if way is None or kind is None or not plant(tree, (*above, *way), kind):
            raise NotColumnarError
        ways.append((*above, *way))
    table = read_fields(lines, tree, count)
    ours = np.ones(count, bool)
    for condition, way in zip(conditions, ways, strict=True):
        found = field_at(table, way)
        ours &= pc.is_in(found, pa.array(condition.values, found.type)).to_numpy(zero_copy_only=False)
    if not dataset.debezium:
        return ours, ~ours & False
    changed = pc.is_in(field_at(table, operation), pa.array(debezium.ROW_OPERATIONS)).to_numpy(zero_copy_only=False)
    return ours & changed, ~changed


def _plain_way(place: Column | Filter) -> Way | None:
    """Names of fields only; None for a way through an array, which may be shorter than an index."""
    way = steps(place)
    return tuple(map(str, way)) if all(isinstance(step, str) for step in way) else None


class _Batch:
    """Records that are rows, and what their columns are made of."""

    def __init__(self, dataset: Dataset, records: Records, lines: bytes, above: Way) -> None:
        self._dataset, self._records, self._lines, self._above = dataset, records, lines, above
        self._parsed: list[Any] | None = None

    def arrays(self) -> tuple[list[pa.Array], int]:
        """The columns of the contract, and how many of their local times exist twice."""
        fields = self._fields()
        found: list[pa.Array] = []
        ambiguous = 0
        bad: list[np.ndarray] = []  # of all columns, so that they are taken out at once
        for column in (*self._dataset.columns, *self._dataset.dropped):
            try:
                array, twice = self._column(column, fields)
            except NotColumnarError as error:
                if error.suspects is None:
                    raise
                bad.append(error.suspects)
                continue
            found.append(array)
            ambiguous += twice
        if bad:
            raise NotColumnarError(np.unique(np.concatenate(bad)))
        return found[: len(self._dataset.columns)], ambiguous

    def _fields(self) -> dict[str, pa.Array]:
        """Fields of values and of keys that can be read as columns, by the name of their column."""
        value_tree, key_tree = Tree(), Tree()
        value_ways, key_ways = {}, {}
        for column in (*self._dataset.columns, *self._dataset.dropped):
            way, kind = _plain_way(column), read_type(column)
            if way is None or kind is None or is_text(column):
                continue
            if column.origin is Origin.VALUE and plant(value_tree, (*self._above, *way), kind):
                value_ways[column.name] = (*self._above, *way)
            if column.origin is Origin.KEY and not self._dataset.debezium and plant(key_tree, way, kind):
                key_ways[column.name] = way
        count = len(self._records)
        values = read_fields(self._lines, value_tree, count)
        if self._above and value_ways and (rows := field_at(values, self._above)).null_count:
            raise NotColumnarError(np.flatnonzero(rows.is_null()))  # changes without a row
        found = {name: field_at(values, way) for name, way in value_ways.items()}
        if key_ways:
            keys = [b"{}" if key is None else key for key in self._records.keys]
            table = read_fields(join_objects(keys, sum(map(len, keys))), key_tree, count)
            found |= {name: field_at(table, way) for name, way in key_ways.items()}
        return found

    def _column(self, column: Column, fields: Mapping[str, pa.Array]) -> tuple[pa.Array, int]:
        if column.name in fields:
            return convert_array(column, fields[column.name])
        if is_text(column):
            return convert_array(column, self._texts(column))
        if column.origin is Origin.RECORD:
            return convert_array(column, self._broker(str(column.path[0])))
        return self._one_by_one(column)

    def _one_by_one(self, column: Column) -> tuple[pa.Array, int]:
        values, ambiguous, bad = [], 0, []
        way = steps(column)
        for place in range(len(self._records)):
            try:
                if column.origin is Origin.VALUE:
                    there = follow(self._documents()[place], way, column.source)
                else:
                    there = Opened(self._dataset, self._records.one(place), None).at(column)
                value, twice = convert(column, there)
            except RejectedError:
                bad.append(place)
                continue
            values.append(value)
            ambiguous += twice
        if bad:
            raise NotColumnarError(np.array(bad))
        return pa.array(values, TYPES[column.logical_type]), ambiguous

    def _texts(self, column: Column) -> pa.Array:
        found: Sequence[bytes | None]
        if column.origin is Origin.KEY:
            found = self._records.keys
        elif self._records.headers is None:
            found = [None] * len(self._records)
        else:
            found = [last_header(headers, str(column.path[0])) for headers in self._records.headers]
        if any(b"\x00" in text for text in found if text is not None):
            raise NotColumnarError
        return pa.array(found, pa.binary()).cast(pa.string())

    def _broker(self, name: str) -> pa.Array:
        records = self._records
        if name == "topic":
            return pa.repeat(str(self._dataset.topic), len(records))
        if name == "timestamp":
            return pa.array(records.timestamps, pa.int64(), mask=records.timestamps < 0)
        return pa.array(records.partitions if name == "partition" else records.offsets, pa.int64())

    def _documents(self) -> list[Any]:
        """The rows in the values, each parsed once; that they are JSON, and rows, is known by now."""
        if self._parsed is None:
            documents = [orjson.loads(value) for value in self._records.values if value is not None]
            self._parsed = [follow(document, self._above, "after") for document in documents]
        return self._parsed
