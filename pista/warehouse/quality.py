"""Quality rules of a contract, measured in the database.

The metrics are those of the Open Data Contract Standard: each is a number of rows (or a percentage of
the table's), compared with the rule's threshold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset, QualityRule
from pista.warehouse.names import curated, literal, quote, quote_all

OPERATORS: Mapping[str, Callable[[float, Any], bool]] = {
    "mustBe": lambda value, bound: value == bound,
    "mustNotBe": lambda value, bound: value != bound,
    "mustBeGreaterThan": lambda value, bound: value > bound,
    "mustBeGreaterOrEqualTo": lambda value, bound: value >= bound,
    "mustBeLessThan": lambda value, bound: value < bound,
    "mustBeLessOrEqualTo": lambda value, bound: value <= bound,
    "mustBeBetween": lambda value, bounds: bounds[0] <= value <= bounds[1],
    "mustNotBeBetween": lambda value, bounds: not bounds[0] <= value <= bounds[1],
}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule measured, and whether that satisfies it."""

    rule: QualityRule
    value: float  # rows, or percent of the table's rows
    passed: bool


def evaluate(connection: Connection[TupleRow], dataset: Dataset) -> list[RuleResult]:
    """Measure every rule of a dataset's contract on the curated table as the connection sees it."""
    results = []
    with connection.transaction():
        connection.execute("SET LOCAL search_path = curated, pg_temp")
        for rule in dataset.quality:
            row = connection.execute(_query(dataset, rule).encode()).fetchone()
            # a query over no rows may answer nothing, or NULL: it found nothing to count
            value = float(row[0]) if row is not None and row[0] is not None else 0.0
            results.append(RuleResult(rule, value, OPERATORS[rule.operator](value, rule.threshold)))
    return results


def _query(dataset: Dataset, rule: QualityRule) -> str:
    table = curated(dataset.name)
    if rule.query is not None:
        column = quote(rule.column) if rule.column else ""
        query = rule.query.replace("{table}", table).replace("{column}", column)
        # below the top level PostgreSQL refuses a WITH that writes, and a second statement
        return f"SELECT * FROM (\n{query}\n) AS rule"
    count = METRICS[str(rule.metric)](rule)
    if rule.unit == "percent":
        count = f"100.0 * {count} / nullif(count(*), 0)"
    return f"SELECT {count} FROM {table}"


def _null_values(rule: QualityRule) -> str:
    return f"count(*) FILTER (WHERE {quote(str(rule.column))} IS NULL)"


def _missing_values(rule: QualityRule) -> str:
    missing = rule.arguments["missingValues"]
    assert isinstance(missing, list)
    column = quote(str(rule.column))
    conditions = [f"{column} IS NULL"] if None in missing else []
    conditions += [f"{column}::text = {literal(str(value))}" for value in missing if value is not None]
    return f"count(*) FILTER (WHERE {' OR '.join(conditions)})"


def _invalid_values(rule: QualityRule) -> str:
    column, conditions = quote(str(rule.column)), []
    valid = rule.arguments.get("validValues")
    if isinstance(valid, list):
        values = ", ".join(literal(str(value)) for value in valid)
        conditions.append(f"{column}::text NOT IN ({values})")
    if "pattern" in rule.arguments:
        conditions.append(f"{column}::text !~ {literal('^(?:' + str(rule.arguments['pattern']) + ')$')}")
    return f"count(*) FILTER (WHERE {column} IS NOT NULL AND ({' OR '.join(conditions)}))"


def _duplicate_values(rule: QualityRule) -> str:
    properties = rule.arguments.get("properties")
    names = [str(name) for name in properties] if isinstance(properties, list) else [str(rule.column)]
    # rows beyond the first of each combination
    return f"count(*) - count(DISTINCT ROW({quote_all(names)}))"


def _row_count(rule: QualityRule) -> str:
    return "count(*)"


METRICS: Mapping[str, Callable[[QualityRule], str]] = {
    "nullValues": _null_values,
    "missingValues": _missing_values,
    "invalidValues": _invalid_values,
    "duplicateValues": _duplicate_values,
    "rowCount": _row_count,
}
