"""Whose record it is: the dataset's key in records, also in those that are no valid rows."""

from dataclasses import replace
from typing import Any

import numpy as np

from pista.ingest.decode import Decoder
from pista.kafka.records import Records

Key = tuple[Any, ...]  # values of the key columns, as rows have them


def keys_of(decoder: Decoder, records: Records) -> list[Key | None]:
    """The key of each record: of its value, or of its Kafka key where the value has none; None where neither has.

    Args:
        decoder: of an upsert dataset, and of such records.
        records: in any state.
    """
    by_key = decoder.of_keys()
    found = _decoded(by_key, records)
    unknown = np.array([place for place, key in enumerate(found) if key is None], np.int64)
    if len(unknown):
        # a deletion is known by its Kafka key alone, so a record is read as if it were one
        bare = replace(records.take(unknown), values=[None] * len(unknown))
        for place, key in zip(unknown.tolist(), _decoded(by_key, bare), strict=True):
            found[place] = key
    return found


def _decoded(decoder: Decoder, records: Records) -> list[Key | None]:
    rows = decoder.decode(records)
    found: list[Key | None] = [None] * len(records)
    columns = [rows.table.column(name).to_pylist() for name in decoder.dataset.key]
    for place, key in zip(rows.index.tolist(), zip(*columns, strict=True), strict=True):
        found[place] = key if None not in key else None
    return found
