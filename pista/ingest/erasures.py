"""Keys that were erased stay so: no replay, retry, file or rebuild brings back what lies before the erasure.

A key is kept as a salted hash, with the place in the log up to which its past goes. Records of files are
of the past always.
"""

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.keys import keys_of
from pista.ingest.reasons import Rejection
from pista.kafka.records import Records
from pista.settings import Settings
from pista.warehouse.merging import is_past, key_hash
from pista.warehouse.names import literal


def has_erasures(connection: Connection[TupleRow], dataset: str) -> bool:
    """Whether any key of the dataset was ever erased."""
    row = connection.execute("SELECT EXISTS (SELECT FROM ingest.erased WHERE dataset = %s)", (dataset,)).fetchone()
    assert row is not None
    return bool(row[0])


def without_erased(
    connection: Connection[TupleRow],
    dataset: Dataset,
    records: Records,
    epochs: Sequence[int],
    rejections: list[Rejection],
    settings: Settings,
) -> list[Rejection]:
    """The rejections that are of no erased key, as far as a bad record says of what key it is."""
    if not rejections or not dataset.key or not has_erasures(connection, dataset.name):
        return rejections
    places = [rejection.index for rejection in rejections]
    refused = Records.of(records.one(place) for place in places)
    known = [
        (number, refused.partitions[number], epochs[place], refused.offsets[number], *key)
        for number, (place, key) in enumerate(zip(places, keys_of(dataset, refused, settings), strict=True))
        if key is not None
    ]
    if not known:
        return rejections
    columns = [[str(line[column]) for line in known] for column in range(len(known[0]))]
    names = ["number", "_partition", "_epoch", "_offset", *dataset.key]
    types = ["integer", "integer", "integer", "bigint", *(dataset.column(name).sql_type for name in dataset.key)]
    typed = ", ".join(f's."{name}"::{kind} AS "{name}"' for name, kind in zip(names, types, strict=True))
    erased = {
        number
        for (number,) in connection.execute(
            f"""
            SELECT s.number FROM (
                SELECT {typed} FROM unnest({", ".join(["%s::text[]"] * len(names))})
                    AS s ({", ".join(f'"{name}"' for name in names)})
            ) s, ingest.erased e
            WHERE e.dataset = {literal(dataset.name)} AND e.key_hash = {key_hash(dataset)} AND {is_past()}
            """.encode(),
            columns,
        )
    }
    return [rejection for number, rejection in enumerate(rejections) if number not in erased]
