"""What the contracts say, as the database publishes it: datasets, their columns and keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Column:
    """A served column."""

    name: str
    logical_type: str
    sql_type: str
    nullable: bool
    description: str = ""
    unit: str | None = None  # UCUM
    enum: tuple[Any, ...] = ()
    minimum: Any = None
    maximum: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    examples: tuple[Any, ...] = ()


# Columns of every curated table that no contract names: served when asked for by name.
SYSTEM_COLUMNS = {
    column.name: column
    for column in (
        Column("_version", "integer", "bigint", False, "Version of the dataset that last changed the row"),
        Column("_updated_at", "timestamp", "timestamptz", False, "When the row was last changed"),
    )
}
# The key of an append dataset: the place of the row's event in its topic.
LOG_COLUMNS = {
    column.name: column
    for column in (
        Column("_epoch", "integer", "integer", False, "Counts recreations of the topic"),
        Column("_partition", "integer", "integer", False, "Partition of the topic"),
        Column("_offset", "integer", "bigint", False, "Offset in the partition"),
    )
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A served dataset."""

    name: str
    kind: str
    contract_version: str
    contract_hash: str
    description: str
    domain: str
    tags: tuple[str, ...]
    status: str
    owner: str | None
    support: str | None
    key: tuple[str, ...]
    freshness: timedelta | None
    columns: Mapping[str, Column]  # in the contract's order
    system_columns: Mapping[str, Column]
    paused_at: datetime | None = None  # since when an operator keeps it from being loaded or built
    paused_reason: str | None = None

    def column(self, name: str) -> Column | None:
        """The column of that name, the contract's or the system's."""
        return self.columns.get(name) or self.system_columns.get(name)

    @property
    def key_columns(self) -> list[Column]:
        """Columns of the primary key, in order."""
        return [self.columns.get(name) or self.system_columns[name] for name in self.key]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All served datasets at one moment."""

    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    defects: tuple[str, ...] = ()  # why a dataset that the database lists is not served


_COLUMN_FIELDS = ", ".join(Column.__slots__)  # by name: a later schema may have more
_DATASETS = f"""
SELECT d.name, d.kind, d.contract_version, d.contract_hash, d.description, d.domain, d.tags, d.status,
       d.owner, d.support, d.key, d.freshness, d.paused_at, d.paused_reason,
       (SELECT json_agg(c) FROM (
           SELECT {_COLUMN_FIELDS} FROM catalog.columns WHERE dataset = d.name ORDER BY position) c)::text AS columns
FROM catalog.datasets d JOIN catalog.versions v ON v.dataset = d.name
WHERE d.served
ORDER BY d.name
"""


async def load_catalog(connection: Any) -> Catalog:
    """Read the catalog in one statement.

    Args:
        connection: An asyncpg connection as pista_api.
    """
    datasets: dict[str, Dataset] = {}
    defects: list[str] = []
    for row in await connection.fetch(_DATASETS):
        columns = {column["name"]: _column(column) for column in orjson.loads(row["columns"] or "[]")}
        system = SYSTEM_COLUMNS | LOG_COLUMNS if row["kind"] == "append" else SYSTEM_COLUMNS
        unknown = [name for name in row["key"] if name not in columns and name not in system]
        if unknown or not row["key"] or not columns:
            what = f"key columns {unknown} are not served" if unknown else "it has no served key or no served column"
            defects.append(f"dataset {row['name']} cannot be served: {what}")
            continue
        fields = dict(row)
        fields |= {"tags": tuple(row["tags"]), "key": tuple(row["key"])}
        fields |= {"columns": columns, "system_columns": system}
        datasets[row["name"]] = Dataset(**fields)
    return Catalog(datasets, tuple(defects))


def _column(row: dict[str, Any]) -> Column:
    """One row of ``catalog.columns``."""
    return Column(**row | {"enum": tuple(row["enum"] or ()), "examples": tuple(row["examples"] or ())})
