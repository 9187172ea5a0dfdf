"""Decoded rows as an Arrow table: the shape both decode paths end in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pista.contracts.dataset import Dataset, LogicalType
from pista.ingest.reasons import Rejection

# Arrow's own pools give what a batch took back to the system at once, and each batch pays a second time for its pages.
pa.set_memory_pool(pa.system_memory_pool())

MOMENT = pa.timestamp("us", "UTC")
TYPES = {
    LogicalType.STRING: pa.string(),
    LogicalType.INTEGER: pa.int64(),
    LogicalType.NUMBER: pa.float64(),
    LogicalType.BOOLEAN: pa.bool_(),
    LogicalType.TIMESTAMP: MOMENT,
    LogicalType.DATE: pa.date32(),
    LogicalType.OBJECT: pa.string(),  # JSON text, as ARRAY is
    LogicalType.ARRAY: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of the good records of a batch, and the others."""

    table: pa.Table  # the contract's columns, then _tombstone
    index: np.ndarray  # int64: which record of the batch each row is
    rejections: list[Rejection]
    ambiguous: int  # local times that exist twice
    filtered: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # records that belong to others
    unknown_fields: Mapping[str, int] = field(default_factory=dict)  # in how many of a sample's records


def schema(dataset: Dataset) -> pa.Schema:
    """Columns of the contract with the Arrow types they are decoded to."""
    return pa.schema([(column.name, TYPES[column.logical_type]) for column in dataset.columns])


def decoded(
    dataset: Dataset,
    arrays: Sequence[pa.Array],
    tombstones: Sequence[bool] | pa.Array,
    index: Sequence[int] | np.ndarray,
    rejections: list[Rejection],
    ambiguous: int,
    filtered: Sequence[int] | np.ndarray = (),
) -> Decoded:
    """Assemble a result."""
    full = schema(dataset).append(pa.field("_tombstone", pa.bool_()))
    table = pa.Table.from_arrays([*arrays, pa.array(tombstones, pa.bool_())], schema=full)
    return Decoded(
        table,
        np.asarray(index, dtype=np.int64),
        rejections,
        ambiguous,
        np.asarray(filtered, dtype=np.int64),
    )


def combine(parts: Sequence[tuple[np.ndarray, Decoded]]) -> Decoded:
    """Results of parts of a batch as one, in the order of the batch; each with the places of its records in it."""
    if len(parts) == 1:
        places, part = parts[0]
        if len(places) == 0 or (places[0] == 0 and places[-1] == len(places) - 1):
            return part
    table = pa.concat_tables([part.table for _, part in parts])
    index = np.concatenate([places[part.index] for places, part in parts])
    if np.any(index[1:] < index[:-1]):
        order = np.argsort(index)
        index, table = index[order], table.take(pa.array(order))
    rejections = [
        Rejection(int(places[r.index]), r.reason, r.detail, r.column) for places, part in parts for r in part.rejections
    ]
    return Decoded(
        table,
        index,
        sorted(rejections, key=lambda rejection: rejection.index),
        sum(part.ambiguous for _, part in parts),
        np.sort(np.concatenate([places[part.filtered] for places, part in parts])),
    )


def left_out(dataset: Dataset, count: int) -> Decoded:
    """The result of records that all belong to others."""
    arrays = [pa.nulls(0, field.type) for field in schema(dataset)]
    return decoded(dataset, arrays, [], [], [], 0, np.arange(count))
