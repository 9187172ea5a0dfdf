"""Rows of a batch into `raw` and `curated`, in the loading transaction; what PostgreSQL refuses is found and named."""

from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset, Merge
from pista.ingest.batch import Batch
from pista.ingest.conditions import QuarantineFlood
from pista.ingest.reasons import Reason, Rejection
from pista.warehouse import merging, patching

# What a row can make PostgreSQL refuse: data exceptions, constraint violations, limits such as an index entry's size.
CULPRIT_CLASSES = ("22", "23", "54")


@dataclass(slots=True)
class Counts:
    """What a merge did to rows."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    erased: int = 0  # records of keys that were erased, which are not loaded again


def try_stage(connection: Connection[TupleRow], batch: Batch) -> bool:
    """COPY before any lock is taken; False where a value does not fit its column."""
    try:
        with connection.transaction():
            _copy(connection, batch, np.arange(len(batch.decoded.index)))
    except psycopg.Error as error:
        _raise_unless_culprit(error)
        return False
    return True


def write_rows(
    connection: Connection[TupleRow], batch: Batch, version: int, *, staged: bool, most_refused: int
) -> tuple[Counts, list[Rejection]]:
    """Rows into raw and curated; a batch that PostgreSQL refuses is halved until the culprit is alone.

    Args:
        connection: in a transaction that has locked the dataset's version.
        batch: decoded.
        version: of this publication.
        staged: whether the stage holds the batch already.
        most_refused: rows that may be refused before the batch as a whole is.

    Returns:
        What was done to rows, and the rows that PostgreSQL refused.

    Raises:
        QuarantineFlood: more rows than ``most_refused`` were refused.
    """
    slices = _slices(connection, batch.dataset)
    counts = Counts()
    refused: list[Rejection] = []
    todo = [np.arange(len(batch.decoded.index))]
    while todo:
        rows = todo.pop()
        if not len(rows):
            continue
        try:
            with connection.transaction():
                if not staged:
                    _copy(connection, batch, rows)
                _merge(connection, batch.dataset, slices, version, counts, only_missing=batch.again)
        except psycopg.Error as error:
            _raise_unless_culprit(error)
            staged = False
            if len(rows) == 1:
                if len(refused) >= most_refused:
                    raise QuarantineFlood(
                        batch.dataset.name,
                        f"PostgreSQL refused more than {most_refused} rows of one batch, the last because "
                        f"{_sentence(error)}. Have the contract refuse such values (maxLength, minimum, maximum).",
                    ) from None
                detail = f"PostgreSQL refused the row: {_sentence(error)}"
                refused.append(Rejection(int(batch.decoded.index[rows[0]]), Reason.DATABASE_REFUSED, detail))
            else:
                todo += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return counts, refused


def _copy(connection: Connection[TupleRow], batch: Batch, rows: np.ndarray) -> None:
    connection.execute(f"TRUNCATE {merging.stage_name(batch.dataset)}".encode())
    with connection.cursor() as cursor, cursor.copy(merging.copy_into_stage(batch.dataset).encode()) as copy:
        copy.write(batch.stage(rows))


def _merge(
    connection: Connection[TupleRow],
    dataset: Dataset,
    slices: merging.Slices,
    version: int,
    counts: Counts,
    *,
    only_missing: bool,
) -> None:
    erased = connection.execute(merging.forget_erased(dataset).encode()).rowcount if dataset.key else 0
    if dataset.keep_raw:
        connection.execute(merging.insert_raw(dataset, only_missing=only_missing).encode())
    if dataset.merge is Merge.PATCH:
        connection.execute(patching.keep_events(dataset).encode())
        statement = patching.merge_patches(dataset, slices)
    else:
        statement = merging.merge(dataset, slices, tombstones=_has_tombstones(connection, dataset))
    merged = connection.execute(statement.encode(), {"version": version}).fetchone()
    assert merged is not None
    if dataset.merge is Merge.PATCH:
        connection.execute(patching.forget_superseded(dataset).encode())
    # at last: a statement that fails takes what those before it did with it
    counts.inserted += merged[0]
    counts.updated += merged[1]
    counts.deleted += merged[2]
    counts.erased += erased


def _has_tombstones(connection: Connection[TupleRow], dataset: Dataset) -> bool:
    row = connection.execute(
        f"""
        SELECT EXISTS (SELECT FROM {merging.stage_name(dataset)} WHERE _tombstone)
            OR EXISTS (SELECT FROM catalog.deleted WHERE dataset = %s)
        """.encode(),
        (dataset.name,),
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _raise_unless_culprit(error: psycopg.Error) -> None:
    if (error.sqlstate or "")[:2] not in CULPRIT_CLASSES:
        raise error


def _sentence(error: psycopg.Error) -> str:
    primary = error.diag.message_primary or str(error)
    return f"{primary} (SQLSTATE {error.sqlstate})"


def _slices(connection: Connection[TupleRow], dataset: Dataset) -> list[tuple[str, str]]:
    # from the catalog and not from the contracts of this process: a mart may be younger than the run
    return [
        (mart, column)
        for mart, column in connection.execute(
            """
            SELECT mart, slice_column FROM catalog.mart_inputs
            WHERE input = %s AND slice_column IS NOT NULL ORDER BY mart
            """,
            (dataset.name,),
        )
    ]
