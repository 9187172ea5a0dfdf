"""The shadow of a dataset: tables that a rebuild fills unseen, and the swap that puts them in the dataset's place.

Until the swap commits, nothing that is served, and nothing that drains write, is touched. What a rebuild
that died left behind is cleared by the next one, and by migrations.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.warehouse.names import curated, patches, quote, raw
from pista.warehouse.publishing import ALL_SLICES, publish_contract
from pista.warehouse.tables import ensure_slice_index, ensure_tables, slice_index

SUFFIX = "__rebuild"  # no dataset's name has two underscores in a row


class RebuildRunningError(Exception):
    """Another process is rebuilding the dataset, or removing of its past what a rebuild could read."""


def shadow_name(dataset: str) -> str:
    """Name of the shadow of a dataset."""
    return dataset + SUFFIX


def shadow_of(dataset: Dataset, *, keep_raw: bool = False) -> Dataset:
    """The dataset under the name of its shadow; without a raw log unless that is replaced too."""
    return replace(dataset, name=shadow_name(dataset.name), keep_raw=keep_raw)


@contextmanager
def alone(connection: Connection[TupleRow], dataset: str) -> Iterator[None]:
    """One rebuild, erasure, drop or end of retention of a dataset at a time; the lock goes with its process.

    Raises:
        RebuildRunningError: another one runs.
    """
    key = f"rebuild:{dataset}"
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)).fetchone()
    if row is None or not row[0]:
        raise RebuildRunningError(
            f"dataset {dataset} is being rebuilt by another process, or its past removed; wait for its end"
        )
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


def raise_shadow(connection: Connection[TupleRow], shadow: Dataset) -> None:
    """Make the empty tables of a shadow, with the grants, comments and indexes that the dataset shall have."""
    served = shadow.name.removesuffix(SUFFIX)
    with connection.transaction():
        drop_shadow(connection, shadow.name)
        ensure_tables(connection, shadow)
        for _, column in readers(connection, served):
            if column is not None:
                ensure_slice_index(connection, shadow.name, column)
        # what refers to a dataset needs its line in the catalog
        publish_contract(connection, shadow)
        connection.execute("UPDATE catalog.datasets SET served = false WHERE name = %s", (shadow.name,))
        connection.execute(
            """
            INSERT INTO ingest.erased (dataset, key_hash, salt, positions)
            SELECT %s, key_hash, salt, positions FROM ingest.erased WHERE dataset = %s
            """,
            (shadow.name, served),
        )


def drop_shadow(connection: Connection[TupleRow], shadow: str) -> None:
    """Remove a shadow and all that refers to it, if it is there."""
    for table in (curated(shadow), raw(shadow), patches(shadow)):
        connection.execute(f"DROP TABLE IF EXISTS {table}".encode())
    connection.execute("DELETE FROM catalog.datasets WHERE name = %s", (shadow,))


def clear_leftovers(connection: Connection[TupleRow]) -> list[str]:
    """Remove the shadows of rebuilds that died; sentences of what was removed."""
    done = []
    for (shadow,) in connection.execute(
        "SELECT name FROM catalog.datasets WHERE right(name, %s) = %s", (len(SUFFIX), SUFFIX)
    ).fetchall():
        served = shadow.removesuffix(SUFFIX)
        try:
            with alone(connection, served), connection.transaction():
                drop_shadow(connection, shadow)
        except RebuildRunningError:
            continue
        done.append(f"cleared what a rebuild of {served} left behind")
    return done


def swap(connection: Connection[TupleRow], dataset: Dataset, shadow: Dataset, rows: int) -> None:
    """Put the shadow in the dataset's place, inside the caller's transaction, which has locked the version.

    Tokens and ETags of before are void, and marts that read the dataset are rebuilt.

    Args:
        connection: of the owner.
        dataset: the contract that the shadow was made by.
        shadow: filled.
        rows: in the shadow.
    """
    connection.execute(f"DROP TABLE {curated(dataset.name)}".encode())
    connection.execute(f"ALTER TABLE {curated(shadow.name)} RENAME TO {quote(dataset.name)}".encode())
    _rename_index(connection, "curated", f"{shadow.name}_pkey", f"{dataset.name}_pkey")
    for _, column in readers(connection, dataset.name):
        if column is not None:
            _rename_index(connection, "curated", slice_index(shadow.name, column), slice_index(dataset.name, column))
    connection.execute(f"DROP TABLE IF EXISTS {patches(dataset.name)}".encode())
    connection.execute(f"ALTER TABLE IF EXISTS {patches(shadow.name)} RENAME TO {quote(dataset.name)}".encode())
    _rename_index(connection, "patches", f"{shadow.name}_pkey", f"{dataset.name}_pkey")
    if shadow.keep_raw:
        _swap_raw(connection, dataset.name, shadow.name)
    connection.execute("DELETE FROM catalog.deleted WHERE dataset = %s", (dataset.name,))
    connection.execute("UPDATE catalog.deleted SET dataset = %s WHERE dataset = %s", (dataset.name, shadow.name))
    drop_shadow(connection, shadow.name)
    publish_contract(connection, dataset)
    connection.execute(
        """
        UPDATE catalog.versions SET version = version + 1, epoch = gen_random_uuid(), row_count = %s,
            published_at = now() WHERE dataset = %s
        """,
        (rows, dataset.name),
    )
    queue_all(connection, dataset.name, [mart for mart, _ in readers(connection, dataset.name)])
    announce(connection, dataset.name)


def announce(connection: Connection[TupleRow], dataset: str) -> None:
    """Tell readers, at commit, that a dataset is another one now: its columns and its version."""
    connection.execute("SELECT pg_notify('pista_catalog', %s)", (dataset,))
    connection.execute(
        """
        SELECT pg_notify('pista_versions', json_build_object('dataset', dataset, 'version', version)::text)
        FROM catalog.versions WHERE dataset = %s
        """,
        (dataset,),
    )


def queue_all(connection: Connection[TupleRow], dataset: str, marts: Iterable[str]) -> None:
    """Have marts that read the dataset built anew as a whole."""
    for mart in marts:
        connection.execute(
            "INSERT INTO ingest.changed_slices (mart, slice, input) VALUES (%s, %s, %s)", (mart, ALL_SLICES, dataset)
        )


def readers(connection: Connection[TupleRow], dataset: str) -> list[tuple[str, str | None]]:
    """Marts that read the dataset, and the column of it that names their slice."""
    return connection.execute(
        "SELECT mart, slice_column FROM catalog.mart_inputs WHERE input = %s ORDER BY mart", (dataset,)
    ).fetchall()


def _rename_index(connection: Connection[TupleRow], schema: str, old: str, new: str) -> None:
    connection.execute(f"ALTER INDEX IF EXISTS {schema}.{quote(old)} RENAME TO {quote(new)}".encode())


def _swap_raw(connection: Connection[TupleRow], dataset: str, shadow: str) -> None:
    connection.execute(f"DROP TABLE {raw(dataset)}".encode())
    for (child,) in connection.execute(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = to_regclass(%s)",
        (raw(shadow),),
    ).fetchall():
        connection.execute(f"ALTER TABLE {raw(child)} RENAME TO {quote(dataset + child.removeprefix(shadow))}".encode())
    connection.execute(f"ALTER TABLE {raw(shadow)} RENAME TO {quote(dataset)}".encode())
    _rename_index(connection, "raw", f"{shadow}_position", f"{dataset}_position")
    # what was said of the raw log of before
    connection.execute("DELETE FROM ingest.raw_dropped WHERE dataset = %s", (dataset,))
    there = f"""EXISTS (SELECT FROM {raw(dataset)} x
        WHERE x.epoch = q.epoch AND x.partition = q.partition AND x."offset" = q."offset")"""
    connection.execute(
        f"""
        UPDATE ingest.quarantine q SET resolved_at = coalesce(resolved_at, now()), discarded_at = NULL
        WHERE dataset = %s AND (resolved_at IS NULL OR discarded_at IS NOT NULL) AND {there}
        """.encode(),
        (dataset,),
    )
    connection.execute(
        f"""
        UPDATE ingest.ranges r SET loaded = found.loaded, filtered = r.delivered - r.quarantined - found.loaded
        FROM (
            SELECT o.epoch, o.partition, o.start_offset,
                (SELECT count(*) FROM {raw(dataset)} x WHERE x.epoch = o.epoch AND x.partition = o.partition
                    AND x."offset" >= o.start_offset AND x."offset" < o.end_offset)
                - (SELECT count(*) FROM ingest.quarantine q WHERE q.dataset = o.dataset AND q.epoch = o.epoch
                    AND q.partition = o.partition AND q."offset" >= o.start_offset AND q."offset" < o.end_offset
                    AND {there}) AS loaded
            FROM ingest.ranges o WHERE o.dataset = %s
        ) found
        WHERE r.dataset = %s AND (r.epoch, r.partition, r.start_offset)
            = (found.epoch, found.partition, found.start_offset) AND r.loaded <> found.loaded
        """.encode(),
        (dataset, dataset),
    )
