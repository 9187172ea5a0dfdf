"""How a contract looks in Dagster: keys, owners, tags, schema and links. Values only, no assets."""

import re
from datetime import timedelta
from typing import Any

import dagster as dg

from pista.contracts.dataset import Column, Dataset, Kind
from pista.settings import Settings

SHORTEST_FRESHNESS = timedelta(minutes=1)  # Dagster refuses a shorter window


def asset_key(dataset: str) -> dg.AssetKey:
    """A dataset is named as its table is: ``curated/flights``."""
    return dg.AssetKey(["curated", dataset])


def topic_key(topic: str) -> dg.AssetKey:
    """A topic, where lineage starts: ``kafka/nyc.flights``."""
    return dg.AssetKey(["kafka", topic])


def identifier(text: str) -> str:
    """Text as Dagster allows names: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "default"


def owners(dataset: Dataset) -> list[str]:
    """The contract's team, as Dagster writes teams."""
    return [f"team:{dataset.owner}"] if dataset.owner else []


def tags(dataset: Dataset) -> dict[str, str]:
    """The contract's tags and status, in the characters that Dagster allows (63 of them at most)."""
    allowed = {re.sub(r"[^A-Za-z0-9_.-]+", "-", tag)[:63].strip("-"): "" for tag in dataset.tags}
    return {**{tag: "" for tag in allowed if tag}, "status": identifier(dataset.status), "kind": dataset.kind.value}


def kinds(dataset: Dataset) -> set[str]:
    """The technologies that the node in the asset graph shows."""
    return {"postgres", "sql"} if dataset.kind is Kind.MART else {"kafka", "postgres"}


def description(dataset: Dataset) -> str:
    """Markdown: what it is, what a row is, how fresh it promises to be, whom to ask."""
    key = ", ".join(f"`{name}`" for name in dataset.key)
    lines = [dataset.description.strip(), f"**One row:** {f'per {key}' if key else 'an event of the topic'}."]
    if dataset.freshness is not None:
        lines.append(f"**Freshness:** older than {spell(dataset.freshness)} is stale.")
    if dataset.support:
        lines.append(f"**Help:** {dataset.support}")
    return "\n\n".join(line for line in lines if line)


def spell(duration: timedelta) -> str:
    """A duration in its largest whole units: ``1 day 2 hours``."""
    rest, parts = int(duration.total_seconds()), []
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts) or "0 seconds"


def freshness_policy(dataset: Dataset) -> dg.FreshnessPolicy | None:
    """The contract's promise as Dagster's policy; Dagster knows no window under a minute."""
    if dataset.freshness is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=max(dataset.freshness, SHORTEST_FRESHNESS))


def definition_metadata(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """What is known before any run: table, columns, contract, links."""
    found: dict[str, Any] = {
        "dagster/table_name": f"{_database(settings)}curated.{dataset.name}",
        "dagster/column_schema": dg.TableSchema(columns=[_column(dataset, column) for column in dataset.columns]),
        "contract_version": dataset.version,
    }
    if dataset.path is not None:
        found["contract"] = dg.MetadataValue.path(dataset.path)
    if settings.api_url:
        found["api"] = dg.MetadataValue.url(f"{settings.api_url.rstrip('/')}/v1/{dataset.name}")
    return found


def _database(settings: Settings) -> str:
    """The database's name and a dot, as catalogs expect it before schema and table; nothing if unknown."""
    if settings.ingest_dsn is None:
        return ""
    from psycopg.conninfo import conninfo_to_dict

    name = conninfo_to_dict(settings.ingest_dsn.get_secret_value()).get("dbname")
    return f"{name}." if name else ""


def _column(dataset: Dataset, column: Column) -> dg.TableColumn:
    other = [
        f"{word} {bound}"
        for word, bound in (("at least", column.minimum), ("at most", column.maximum))
        if bound is not None
    ]
    if column.enum:
        other.append("one of " + ", ".join(map(str, column.enum)))
    if not column.served:
        other.append(f"not served: {column.classification}")
    unit = f" [{column.unit}]" if column.unit else ""
    return dg.TableColumn(
        name=column.name,
        type=column.sql_type,
        description=(column.description + unit).strip() or None,
        constraints=dg.TableColumnConstraints(
            nullable=not column.required, unique=dataset.key == (column.name,), other=other
        ),
    )
