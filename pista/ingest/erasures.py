"""Keys that were erased stay so: no replay, retry, file or rebuild brings back what lies before the erasure.

A key is kept as a salted hash, with the place in the log up to which its past goes. The merge leaves out
rows of such keys (``pista.warehouse.merging.forget_erased``); this module leaves out bad records of them,
which would lie in quarantine again.
"""

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.ingest.batch import Batch
from pista.ingest.keys import keys_of
from pista.ingest.reasons import Rejection
from pista.kafka.records import Records
from pista.warehouse.merging import is_past, key_hash
from pista.warehouse.names import literal, quote


def without_erased(connection: Connection[TupleRow], batch: Batch, rejections: list[Rejection]) -> list[Rejection]:
    """The rejections that are of no erased key, as far as a bad record says of what key it is."""
    dataset = batch.dataset
    if not rejections or not dataset.key or not _any(connection, dataset.name):
        return rejections
    refused = Records.of(batch.records.one(rejection.index) for rejection in rejections)
    known = [
        (number, int(batch.epochs[rejections[number].index]), record.partition, record.offset, *key)
        for number, (record, key) in enumerate(zip(refused, keys_of(batch.decoder, refused), strict=True))
        if key is not None
    ]
    if not known:
        return rejections
    names = ["number", "_epoch", "_partition", "_offset", *dataset.key]
    types = ["integer", "integer", "integer", "bigint", *(dataset.column(name).sql_type for name in dataset.key)]
    typed = ", ".join(f"s.{quote(name)}::{kind} AS {quote(name)}" for name, kind in zip(names, types, strict=True))
    columns = [[str(value) for value in column] for column in zip(*known, strict=True)]
    erased = {
        number
        for (number,) in connection.execute(
            f"""
            SELECT s.number FROM (
                SELECT {typed}
                FROM unnest({", ".join(["%s::text[]"] * len(names))}) AS s ({", ".join(map(quote, names))})
            ) s, ingest.erased e
            WHERE e.dataset = {literal(dataset.name)} AND e.key_hash = {key_hash(dataset)} AND {is_past()}
            """.encode(),
            columns,
        )
    }
    return [rejection for number, rejection in enumerate(rejections) if number not in erased]


def _any(connection: Connection[TupleRow], dataset: str) -> bool:
    row = connection.execute("SELECT EXISTS (SELECT FROM ingest.erased WHERE dataset = %s)", (dataset,)).fetchone()
    assert row is not None
    return bool(row[0])
