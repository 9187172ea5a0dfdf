"""Tables of a dataset: how a contract becomes DDL, and which changes of a contract are safe.

A contract may add nullable columns and widen types on its own. Everything that would break a reader
or lose data is refused with the way on.
"""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Column, Dataset, Merge
from pista.warehouse.names import curated, literal, patches, quote, quote_all, raw
from pista.warehouse.roles import API, INGEST

# Columns that Pista adds: when a row last changed, and for sources the position of its newest event.
VERSION_COLUMNS = {"_version": "bigint", "_updated_at": "timestamptz"}
POSITION_COLUMNS = {"_epoch": "integer", "_order_time": "timestamptz", "_partition": "integer", "_offset": "bigint"}

WIDENINGS = {
    ("smallint", "integer"),
    ("smallint", "bigint"),
    ("integer", "bigint"),
    ("real", "double precision"),
    ("smallint", "double precision"),
    ("integer", "double precision"),
}

# the way on where rows have to be computed anew
REBUILD = "Keep it, or apply it by `pista dataset rebuild {name} --from raw`, which computes every row anew."

CATALOG_TYPES = {"timestamp with time zone": "timestamptz"}


class BreakingChangeError(Exception):
    """A contract changed in a way that would break readers or lose data."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A column of a table that is there."""

    name: str
    sql_type: str
    nullable: bool


def ensure_tables(connection: Connection[TupleRow], dataset: Dataset) -> list[str]:
    """Create or evolve the tables of a dataset, with grants and comments, inside the caller's transaction.

    Returns:
        Sentences of what changed.

    Raises:
        BreakingChangeError: the contract asks for more than adding nullable columns and widening types.
    """
    existing = existing_columns(connection, dataset.name)
    if existing and _is_empty(connection, dataset) and _differs(existing, dataset):
        # nobody can have read anything: any change is safe
        connection.execute(f"DROP TABLE {curated(dataset.name)}".encode())
        existing = {}
    done = _evolve(connection, dataset, existing) if existing else _create(connection, dataset)
    if dataset.is_source:
        connection.execute(_raw_ddl(dataset.name).encode())
        connection.execute(f"GRANT SELECT, INSERT, MAINTAIN ON {raw(dataset.name)} TO {INGEST}".encode())
    if dataset.merge is Merge.PATCH:
        connection.execute(_patches_ddl(dataset.name).encode())
    _grant(connection, dataset)
    _comment(connection, dataset)
    return done


def ensure_slice_index(connection: Connection[TupleRow], dataset: str, column: str) -> None:
    """Index the column by which marts find the rows of a changed slice."""
    name = quote(slice_index(dataset, column))
    connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {curated(dataset)} ({quote(column)})".encode())


def slice_index(dataset: str, column: str) -> str:
    """Name of the index that ``ensure_slice_index`` makes."""
    return f"{dataset}_{column}_slice"[:63]


def existing_columns(connection: Connection[TupleRow], dataset: str) -> dict[str, Existing]:
    """Columns of the curated table by name; empty if there is no table."""
    rows = connection.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
        """,
        (curated(dataset),),
    )
    return {name: Existing(name, str(CATALOG_TYPES.get(kind, kind)), nullable) for name, kind, nullable in rows}


def table_ddl(dataset: Dataset) -> str:
    """The statement that makes the curated table where there is none."""
    lines = [_column_ddl(column) for column in dataset.columns]
    system = VERSION_COLUMNS | (POSITION_COLUMNS if dataset.is_source else {})
    lines += [f"{quote(name)} {kind} NOT NULL" for name, kind in system.items()]
    lines.append(f"PRIMARY KEY ({quote_all(dataset.table_key)})")
    return f"CREATE TABLE {curated(dataset.name)} (\n    " + ",\n    ".join(lines) + "\n)"


def _create(connection: Connection[TupleRow], dataset: Dataset) -> list[str]:
    connection.execute(table_ddl(dataset).encode())
    return [f"created table curated.{dataset.name} with {len(dataset.columns)} columns"]


def _column_ddl(column: Column) -> str:
    # byte order: the fastest to compare, and the same on every server
    collation = ' COLLATE "C"' if column.sql_type == "text" else ""
    return f"{quote(column.name)} {column.sql_type}{collation}{' NOT NULL' if column.required else ''}"


def _evolve(connection: Connection[TupleRow], dataset: Dataset, existing: dict[str, Existing]) -> list[str]:
    table, done = curated(dataset.name), []
    wanted = {column.name: column for column in dataset.columns}
    for name in existing:
        if name not in wanted and not name.startswith("_"):
            raise BreakingChangeError(
                f"dataset {dataset.name}: column {name} is no longer in the contract, but it is served. "
                + _way_on(dataset)
            )
    for column in dataset.columns:
        there = existing.get(column.name)
        if there is None:
            if column.required:
                raise BreakingChangeError(
                    f"dataset {dataset.name}: new column {column.name} is required, but existing rows have no value "
                    f"for it. Add it with `required: false`. {_way_on(dataset)}"
                )
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {_column_ddl(column)}".encode())
            done.append(f"added column curated.{dataset.name}.{column.name} {column.sql_type}")
            continue
        if there.sql_type != column.sql_type:
            _widen(connection, dataset, there, column)
            done.append(f"widened curated.{dataset.name}.{column.name} from {there.sql_type} to {column.sql_type}")
        if there.nullable and column.required:
            raise BreakingChangeError(
                f"dataset {dataset.name}: column {column.name} became required, but rows may lack it. "
                "Keep `required: false`, and add a quality rule `metric: nullValues` to watch it. " + _way_on(dataset)
            )
        if not there.nullable and not column.required:
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN {quote(column.name)} DROP NOT NULL".encode())
            done.append(f"column curated.{dataset.name}.{column.name} may be null")
    return done


def _widen(connection: Connection[TupleRow], dataset: Dataset, there: Existing, column: Column) -> None:
    if (there.sql_type, column.sql_type) not in WIDENINGS:
        possible = sorted(to for source, to in WIDENINGS if source == there.sql_type)
        raise BreakingChangeError(
            f"dataset {dataset.name}: column {column.name} is {there.sql_type} and cannot become {column.sql_type} "
            f"(it could become {' or '.join(possible) or 'nothing else'}). "
            f"Keep the type, or add a column of the new type under another name. {_way_on(dataset)}"
        )
    if column.name in dataset.key and column.sql_type == "double precision":
        raise BreakingChangeError(f"dataset {dataset.name}: key column {column.name} cannot become a floating number.")
    connection.execute(
        f"ALTER TABLE {curated(dataset.name)} ALTER COLUMN {quote(column.name)} TYPE {column.sql_type}".encode()
    )


def _way_on(dataset: Dataset) -> str:
    """What to do about a table that cannot become what the contract says."""
    if dataset.is_source:
        return REBUILD.format(name=dataset.name)
    return "Or publish the new shape under a new dataset name beside this one."


def _differs(existing: dict[str, Existing], dataset: Dataset) -> bool:
    wanted = {column.name: (column.sql_type, not column.required) for column in dataset.columns}
    return wanted != {n: (e.sql_type, e.nullable) for n, e in existing.items() if not n.startswith("_")}


def _is_empty(connection: Connection[TupleRow], dataset: Dataset) -> bool:
    row = connection.execute(f"SELECT NOT EXISTS (SELECT FROM {curated(dataset.name)})".encode()).fetchone()
    assert row is not None
    return bool(row[0])


def _raw_ddl(dataset: str) -> str:
    table, default = raw(dataset), raw(f"{dataset}_default")
    return f"""
        CREATE TABLE IF NOT EXISTS {table} (
            epoch integer NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            order_time timestamptz NOT NULL,
            timestamp timestamptz NOT NULL,
            key bytea,
            value bytea,
            headers jsonb,
            loaded_at timestamptz NOT NULL DEFAULT now()
        ) PARTITION BY RANGE (loaded_at);
        CREATE INDEX IF NOT EXISTS {quote(f"{dataset}_position")} ON {table} (epoch, partition, "offset");
        CREATE TABLE IF NOT EXISTS {default} PARTITION OF {table} DEFAULT;
    """


def _patches_ddl(dataset: str) -> str:
    table = patches(dataset)
    return f"""
        CREATE TABLE IF NOT EXISTS {table} (
            key text COLLATE "C" NOT NULL,
            epoch integer NOT NULL,
            order_time timestamptz NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            fields jsonb NOT NULL,
            PRIMARY KEY (key, epoch, partition, "offset")
        );
        GRANT SELECT, INSERT, DELETE, MAINTAIN ON {table} TO {INGEST};
    """


def _grant(connection: Connection[TupleRow], dataset: Dataset) -> None:
    table = curated(dataset.name)
    served = [column.name for column in dataset.columns if column.served] + list(VERSION_COLUMNS)
    served += [name for name in dataset.table_key if name in POSITION_COLUMNS]
    connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON {table} TO {INGEST}".encode())
    # by column: a grant on the table would show every column, whatever is revoked afterwards
    connection.execute(f"REVOKE ALL ON {table} FROM {API}".encode())
    connection.execute(f"GRANT SELECT ({quote_all(served)}) ON {table} TO {API}".encode())


def _comment(connection: Connection[TupleRow], dataset: Dataset) -> None:
    table = curated(dataset.name)
    connection.execute(f"COMMENT ON TABLE {table} IS {literal(dataset.description)}".encode())
    for column in dataset.columns:
        connection.execute(f"COMMENT ON COLUMN {table}.{quote(column.name)} IS {literal(column.description)}".encode())
