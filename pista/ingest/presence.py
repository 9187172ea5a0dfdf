"""Which fields a partial event lacks: what `merge: patch` has to tell from fields that are null."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pista.contracts.dataset import Column, Dataset, Origin
from pista.ingest.arrow import Decoded
from pista.kafka.records import Records


def with_absent(dataset: Dataset, records: Records, decoded: Decoded) -> Decoded:
    """The same rows with a column ``_absent`` before ``_tombstone``: names of columns, as a PostgreSQL array.

    A value that is there says so itself, so only records with a null in some column are looked at again.

    Args:
        dataset: of ``merge: patch``.
        records: with plain JSON values, as they were decoded.
        decoded: their rows.
    """
    table = decoded.table
    nulls = np.array([table.column(column.name).is_null().to_numpy() for column in dataset.columns])
    nulls &= ~table.column("_tombstone").to_numpy()
    absent = ["{}"] * table.num_rows
    for row in np.flatnonzero(nulls.any(axis=0)).tolist():
        document = orjson.loads(records.values[decoded.index[row]] or b"{}")
        lacking = [dataset.columns[c] for c in np.flatnonzero(nulls[:, row]).tolist()]
        absent[row] = "{" + ",".join(column.name for column in lacking if not _states(document, column)) + "}"
    position = table.schema.get_field_index("_tombstone")
    table = table.add_column(position, "_absent", pa.array(absent, pa.string()))
    return replace(decoded, table=table)


def _states(document: Any, column: Column) -> bool:
    """Whether the value says that the column is null: by a null in its place, or in a place above it."""
    if column.origin is not Origin.VALUE:
        return False  # a key or header that is not there says nothing
    for step in column.path or (column.source,):
        if document is None:
            return True
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
