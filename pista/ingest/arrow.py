"""Decoded rows as an Arrow table: the shape both decode paths end in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pista.contracts.dataset import Dataset, LogicalType
from pista.ingest.reasons import Rejection

MOMENT = pa.timestamp("us", "UTC")
TYPES = {
    LogicalType.STRING: pa.string(),
    LogicalType.INTEGER: pa.int64(),
    LogicalType.NUMBER: pa.float64(),
    LogicalType.BOOLEAN: pa.bool_(),
    LogicalType.TIMESTAMP: MOMENT,
    LogicalType.DATE: pa.date32(),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of the good records of a batch, and the others."""

    table: pa.Table  # the contract's columns, then _tombstone
    index: np.ndarray  # int64: which record of the batch each row is
    rejections: list[Rejection]
    ambiguous: int  # local times that exist twice


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
) -> Decoded:
    """Assemble a result."""
    full = schema(dataset).append(pa.field("_tombstone", pa.bool_()))
    table = pa.Table.from_arrays([*arrays, pa.array(tombstones, pa.bool_())], schema=full)
    return Decoded(table, np.asarray(index, dtype=np.int64), rejections, ambiguous)


def concatenate(first: Decoded, second: Decoded, offset: int) -> Decoded:
    """Two halves of a batch; ``offset`` is the number of records in the first."""
    moved = [Rejection(r.index + offset, r.reason, r.detail, r.column) for r in second.rejections]
    return Decoded(
        pa.concat_tables([first.table, second.table]),
        np.concatenate([first.index, second.index + offset]),
        [*first.rejections, *moved],
        first.ambiguous + second.ambiguous,
    )
