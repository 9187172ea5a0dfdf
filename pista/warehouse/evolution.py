"""What a changed contract means for rows that are served: safe, or refused with the way on.

Safe is what leaves every served row right under the new contract: columns added as nullable, types
widened, and rules loosened. A tightened rule is safe if no served row breaks it. All else means other
values in rows that are there already, and has to be computed anew.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Column, Dataset, Filter, LogicalType
from pista.warehouse.names import curated, literal, quote
from pista.warehouse.tables import REBUILD, BreakingChangeError

REREAD = (
    "Keep it, or apply it by `pista dataset rebuild {name} --from topic`, which reads every record anew: "
    "raw does not hold what was left out."
)
CONCEAL = (
    "Rows and raw hold it in clear. Apply it by `pista dataset rebuild {name} --from topic`, "
    "which also replaces raw, or leave it."
)
ANOTHER = "Keep it, or publish under a new dataset name beside this one."


def shape(dataset: Dataset) -> dict[str, Any]:
    """What decides the values of rows, as JSON: kept in the catalog to compare the next contract with."""
    return {
        "merge": dataset.merge.value,
        "envelope": "debezium" if dataset.debezium else None,
        "where": [_filter(f) for f in dataset.where],
        "columns": {column.name: _column(column) for column in dataset.columns},
    }


def refuse_changed_shape(
    connection: Connection[TupleRow], dataset: Dataset, there: Mapping[str, Any] | None, zones: Mapping[str, Any]
) -> None:
    """Refuse a contract under which rows that are there would have other values, or would not be valid.

    Args:
        connection: of the owner.
        dataset: the new contract.
        there: the shape that is applied; None where it was applied before shapes were kept.
        zones: zone of each timestamp column that is applied.

    Raises:
        BreakingChangeError: naming the field, both values and the way on.
    """
    for column in dataset.columns:
        before = zones.get(column.name, column.zone)
        if column.logical_type is LogicalType.TIMESTAMP and before != column.zone:
            way = REBUILD if dataset.is_source else ANOTHER
            raise refusal(dataset, f"the zone of {column.name}", before, column.zone, way)
    if there is None or not dataset.is_source:
        return
    wanted = shape(dataset)
    for field, way in (("merge", REBUILD), ("envelope", REBUILD), ("where", REREAD)):
        if there[field] != wanted[field]:
            raise refusal(dataset, field, there[field], wanted[field], way)
    for column in dataset.columns:
        before, now = there["columns"].get(column.name), wanted["columns"][column.name]
        if before is None:
            continue
        for field in ("pii", "source", "coercion", "time_format", "pattern"):
            if before[field] != now[field] and not (field == "pattern" and now[field] is None):
                way = CONCEAL if field == "pii" else REBUILD
                raise refusal(dataset, f"the {field} of {column.name}", before[field], now[field], way)
        for field, condition in _tightened(column, before, now):
            row = connection.execute(
                f"SELECT count(*) FROM {curated(dataset.name)} WHERE NOT ({condition})".encode()
            ).fetchone()
            if row is not None and row[0]:
                raise refusal(
                    dataset,
                    f"the {field} of {column.name}",
                    before[field],
                    now[field],
                    f"{row[0]} served rows break the new rule. " + REBUILD,
                )


def refusal(dataset: Dataset, field: str, before: object, now: object, way: str) -> BreakingChangeError:
    """The sentence of a refusal: the field, both values, and the way on."""
    return BreakingChangeError(
        f"dataset {dataset.name}: {field} was {_shown(before)} and is now {_shown(now)}, but rows were served under "
        f"the old one. {way.format(name=dataset.name)}"
    )


def _column(column: Column) -> dict[str, Any]:
    return {
        "source": _place(column.origin.value, column.path, column.source),
        "coercion": column.coercion.value if column.coercion else None,
        "time_format": column.time_format,
        "pii": column.pii.value if column.pii else None,
        "pattern": column.pattern,
        "enum": list(column.enum),
        "minimum": column.minimum,
        "maximum": column.maximum,
        "minLength": column.min_length,
        "maxLength": column.max_length,
    }


def _filter(condition: Filter) -> dict[str, Any]:
    place = _place(condition.origin.value, condition.path, condition.source)
    return {"source": place, "values": list(condition.values)}


def _place(origin: str, path: tuple[str | int, ...], source: str) -> list[str | int]:
    return [origin, *(path or (source,))]


def _tightened(column: Column, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rules that accept less than before, and what a row must satisfy, as SQL."""
    name = quote(column.name)
    if now["enum"] and (not before["enum"] or set(before["enum"]) - set(now["enum"])):
        yield "enum", f"{name} IN ({', '.join(_sql(value) for value in now['enum'])})"
    for field, operator, tighter in (("minimum", ">=", max), ("maximum", "<=", min)):
        was, is_ = before[field], now[field]
        if is_ is not None and is_ != was and (was is None or tighter(was, is_) == is_):
            zone = f" AT TIME ZONE {literal(column.zone or 'UTC')}" if _is_local(column, is_) else ""
            kind = "timestamp" if zone else column.sql_type
            yield field, f"{name} {operator} ({_sql(is_)}::{kind}{zone})"
    for field, operator, tighter in (("minLength", ">=", max), ("maxLength", "<=", min)):
        was, is_ = before[field], now[field]
        if is_ is not None and is_ != was and (was is None or tighter(was, is_) == is_):
            yield field, f"char_length({name}) {operator} {is_}"


def _is_local(column: Column, bound: object) -> bool:
    """Whether a bound is a time without an offset, which is read in the column's zone."""
    text = str(bound)
    return column.logical_type is LogicalType.TIMESTAMP and not (text.endswith("Z") or "+" in text or "-" in text[10:])


def _sql(value: object) -> str:
    return literal(value) if isinstance(value, str) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
