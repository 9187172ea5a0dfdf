"""Contracts into the catalog, where readers that know no contract files find them."""

from collections.abc import Mapping

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.warehouse.evolution import ANOTHER, refusal, refuse_changed_shape, shape
from pista.warehouse.tables import REBUILD

ALL_SLICES = "*"  # in the queue of changed slices: rebuild the whole mart

UPSERT_DATASET = """
    INSERT INTO catalog.datasets (name, kind, contract_version, contract_hash, description, domain, tags, status,
        owner, support, key, ordering, slice_column, topic, freshness, retention, zones, shape, served)
    VALUES (%(name)s, %(kind)s, %(contract_version)s, %(contract_hash)s, %(description)s, %(domain)s, %(tags)s,
        %(status)s, %(owner)s, %(support)s, %(key)s, %(ordering)s, %(slice_column)s, %(topic)s, %(freshness)s,
        %(retention)s, %(zones)s, %(shape)s, true)
    ON CONFLICT (name) DO UPDATE SET contract_version = excluded.contract_version,
        contract_hash = excluded.contract_hash, description = excluded.description, domain = excluded.domain,
        tags = excluded.tags, status = excluded.status, owner = excluded.owner, support = excluded.support,
        key = excluded.key, ordering = excluded.ordering, slice_column = excluded.slice_column,
        topic = excluded.topic, kind = excluded.kind, freshness = excluded.freshness,
        retention = excluded.retention, zones = excluded.zones, shape = excluded.shape, served = true,
        applied_at = now()
"""


def refuse_breaking(connection: Connection[TupleRow], dataset: Dataset) -> None:
    """Refuse a contract under which rows that are there would be others, or would not be valid.

    Raises:
        BreakingChangeError: naming the field, both values and the way on.
    """
    row = connection.execute(
        """
        SELECT d.kind, d.key, d.ordering, d.slice_column, d.topic, v.version > 0, d.zones, d.shape
        FROM catalog.datasets d JOIN catalog.versions v ON v.dataset = d.name WHERE d.name = %s
        """,
        (dataset.name,),
    ).fetchone()
    if row is None or not row[5]:
        return
    wanted = {
        "kind": dataset.kind.value,
        "key": list(dataset.table_key),
        "ordering": dataset.ordering,
        "partitioned column": dataset.slice_column,
        "topic": dataset.topic,
    }
    for (field, now), before in zip(wanted.items(), row, strict=False):
        if before != now:
            # another topic has other offsets: the ledger of this one says nothing of it
            way = REBUILD if dataset.is_source and field != "topic" else ANOTHER
            raise refusal(dataset, field, before, now, way)
    refuse_changed_shape(connection, dataset, row[7], row[6] or {})


def _zones(dataset: Dataset) -> dict[str, str | None]:
    """What the times of each timestamp column are read as; None where they carry an offset."""
    return {column.name: column.zone for column in dataset.columns if column.logical_type is LogicalType.TIMESTAMP}


def publish_contract(connection: Connection[TupleRow], dataset: Dataset) -> None:
    """Write a dataset, its served columns and its inputs into the catalog, inside the caller's transaction."""
    row = connection.execute(
        "SELECT contract_hash FROM catalog.datasets WHERE name = %s AND served", (dataset.name,)
    ).fetchone()
    connection.execute(
        UPSERT_DATASET,
        {
            "name": dataset.name,
            "kind": dataset.kind.value,
            "contract_version": dataset.version,
            "contract_hash": dataset.contract_hash,
            "description": dataset.description,
            "domain": dataset.domain,
            "tags": list(dataset.tags),
            "status": dataset.status,
            "owner": dataset.owner,
            "support": dataset.support,
            "key": list(dataset.table_key),
            "ordering": dataset.ordering,
            "slice_column": dataset.slice_column,
            "topic": dataset.topic,
            "freshness": dataset.freshness,
            "retention": dataset.retention,
            "zones": Jsonb(_zones(dataset)),
            "shape": Jsonb(shape(dataset)),
        },
    )
    connection.execute(
        "INSERT INTO catalog.versions (dataset) VALUES (%s) ON CONFLICT (dataset) DO NOTHING", (dataset.name,)
    )
    connection.execute("DELETE FROM catalog.columns WHERE dataset = %s", (dataset.name,))
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO catalog.columns (dataset, position, name, logical_type, sql_type, nullable, description, unit,
                enum, minimum, maximum, min_length, max_length, pattern, examples)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                _column_row(dataset, position, column)
                for position, column in enumerate(dataset.columns, 1)
                if column.served
            ],
        )
        cursor.execute("DELETE FROM catalog.mart_inputs WHERE mart = %s", (dataset.name,))
        cursor.executemany(
            "INSERT INTO catalog.mart_inputs (mart, input, slice_column) VALUES (%s, %s, %s)",
            [(dataset.name, source.dataset, source.slice_column) for source in dataset.inputs],
        )

    if dataset.kind is Kind.MART and (row is None or row[0] != dataset.contract_hash):
        # a new definition makes every slice of before wrong
        connection.execute(
            "INSERT INTO ingest.changed_slices (mart, slice, input) VALUES (%s, %s, %s)",
            (dataset.name, ALL_SLICES, dataset.name),
        )


def retire_missing(connection: Connection[TupleRow], datasets: Mapping[str, Dataset]) -> list[str]:
    """Stop serving datasets whose contract is gone; their tables stay. Sentences of what changed."""
    names = [
        name
        for (name,) in connection.execute(
            "UPDATE catalog.datasets SET served = false WHERE served AND name <> ALL(%s) RETURNING name",
            (list(datasets),),
        ).fetchall()
    ]
    # nobody builds a retired mart: its queue would grow for ever
    connection.execute("DELETE FROM catalog.mart_inputs WHERE mart = ANY(%s)", (names,))
    connection.execute("DELETE FROM ingest.changed_slices WHERE mart = ANY(%s)", (names,))
    return [f"dataset {name} has no contract any more: its table stays, the API no longer shows it" for name in names]


def _column_row(dataset: Dataset, position: int, column: Column) -> tuple[object, ...]:
    def json(value: object) -> Jsonb | None:
        return None if value is None or value == () else Jsonb(list(value) if isinstance(value, tuple) else value)

    # of a hashed column the rules are those of the value, and what is served is its hash
    clear = column.pii is None
    return (
        dataset.name,
        position,
        column.name,
        column.logical_type.value,
        column.sql_type,
        not column.required,
        column.description,
        column.unit,
        json(column.enum),
        json(column.minimum),
        json(column.maximum),
        column.min_length if clear else None,
        column.max_length if clear else None,
        column.pattern if clear else None,
        json(column.examples),
    )
