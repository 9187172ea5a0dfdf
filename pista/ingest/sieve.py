"""Which records of a refused batch are to blame: they are read one by one, and the others at once after all.

Only time depends on what is found here: a record that is suspected without reason is read slower, one that is
overlooked makes the batch be halved.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pista.contracts.dataset import Dataset, Origin
from pista.ingest.gate import ESCAPES, NO_NUMBER
from pista.ingest.places import steps
from pista.ingest.vector import read_type
from pista.kafka.records import Records

PYTHON_TYPES: dict[pa.DataType, tuple[type, ...]] = {
    pa.string(): (str,),
    pa.int64(): (int,),
    pa.float64(): (int, float),
    pa.bool_(): (bool,),
}


def suspects(dataset: Dataset, records: Records, value_max_bytes: int) -> np.ndarray:
    """Places of records that are no JSON object in one line; where there are none, of those with mistyped fields."""
    found: set[int] = set()
    documents: list[dict[str, Any]] = []
    for place, value in enumerate(records.values):
        document = _document(value or b"", value_max_bytes)
        if document is None:
            found.add(place)
        documents.append(document or {})
    # with filters or an envelope around the row, a field of another type may be another's, and is no offence
    if not found and not dataset.where and not dataset.debezium:
        _add_mistyped(dataset, documents, found)
    return np.array(sorted(found), np.int64)


def _document(value: bytes, value_max_bytes: int) -> dict[str, Any] | None:
    if len(value) > value_max_bytes or not (value.startswith(b"{") and value.endswith(b"}")):
        return None
    if b"\n" in value or (b"\\" in value and any(escape in value for escape in ESCAPES)):
        return None
    if (b"NaN" in value or b"Inf" in value) and NO_NUMBER.search(value):
        return None
    try:
        found: dict[str, Any] = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found


def _add_mistyped(dataset: Dataset, documents: Sequence[dict[str, Any]], found: set[int]) -> None:
    for column in (*dataset.columns, *dataset.dropped):
        way, kind = steps(column), read_type(column)
        if column.origin is not Origin.VALUE or len(way) > 1 or kind is None:
            continue
        valid = (*PYTHON_TYPES[kind], type(None))
        name = column.source
        found.update(place for place, document in enumerate(documents) if type(document.get(name)) not in valid)
