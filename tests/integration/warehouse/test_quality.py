"""Every metric, unit and operator of quality rules, measured by PostgreSQL; and no rule writes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import psycopg
import pytest

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, QualityRule, Severity
from pista.warehouse.connection import connect
from pista.warehouse.migrate import migrate
from pista.warehouse.quality import OPERATORS, evaluate

LEGS = Dataset(
    "legs",
    "1",
    Kind.UPSERT,
    (
        Column("id", "id", LogicalType.INTEGER, "integer", required=True),
        Column("state", "state", LogicalType.STRING, "text"),
        Column("pax", "pax", LogicalType.INTEGER, "integer"),
    ),
    ("id",),
    topic="legs",
    contract_hash="1",
)
ROWS = [(1, "left", 10), (2, "left", 10), (3, "it's", 10), (4, "n/a", 20), (5, None, None)]


@pytest.fixture
def empty(database: object) -> Iterator[psycopg.Connection]:
    migrate(database.admin_dsn, {"legs": LEGS})  # type: ignore[attr-defined]
    with connect(database.ingest_dsn, "test") as connection:  # type: ignore[attr-defined]
        yield connection


@pytest.fixture
def legs(empty: psycopg.Connection) -> psycopg.Connection:
    with empty.cursor() as cursor:
        cursor.executemany("INSERT INTO curated.legs VALUES (%s, %s, %s, 1, now(), 0, now(), 0, 0)", ROWS)
    return empty


def metric(name: str, column: str | None = None, unit: str = "rows", **arguments: object) -> QualityRule:
    return QualityRule("rule", "", Severity.ERROR, column, name, None, arguments, "mustBe", 0, unit)


def sql(query: str, column: str | None = None) -> QualityRule:
    return QualityRule("rule", "", Severity.ERROR, column, None, query, {}, "mustBe", 0)


def value(connection: psycopg.Connection, rule: QualityRule) -> float:
    (result,) = evaluate(connection, replace(LEGS, quality=(rule,)))
    assert result.rule is rule
    return result.value


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        (metric("nullValues", "state"), 1),
        (metric("nullValues", "state", "percent"), 20),
        (metric("missingValues", "state", missingValues=[None, "n/a", "it's"]), 3),
        (metric("missingValues", "state", missingValues=["n/a"]), 1),
        (metric("missingValues", "pax", "percent", missingValues=[None, 20]), 40),
        (metric("invalidValues", "state", validValues=["left", "it's"]), 1),
        (metric("invalidValues", "pax", validValues=[20]), 3),
        (metric("invalidValues", "state", "percent", validValues=["left"]), 40),
        (metric("invalidValues", "state", pattern="[a-z]+"), 2),
        (metric("invalidValues", "state", pattern=r"\w+|it's"), 1),  # an alternative, too, is the whole value
        (metric("invalidValues", "state", validValues=["left", "n/a"], pattern="[a-z']+"), 2),
        (metric("duplicateValues", "state"), 1),
        (metric("duplicateValues", properties=["pax"]), 2),
        (metric("duplicateValues", properties=["state", "pax"]), 1),
        (metric("rowCount"), 5),
        (sql("SELECT count(*) FROM {table} WHERE {column} > 10", "pax"), 1),
        (sql("SELECT avg(pax) FROM legs -- of those known"), 12.5),
        (sql("WITH known AS (SELECT pax FROM {table}) SELECT sum(pax) FROM known"), 50),
        (sql("SELECT pax FROM {table} WHERE id = 5"), 0),
        (sql("SELECT pax FROM {table} WHERE id = 6"), 0),
    ],
)
def test_what_rules_measure(legs: psycopg.Connection, rule: QualityRule, measured: float) -> None:
    assert value(legs, rule) == measured


@pytest.mark.parametrize(
    "rule",
    [
        metric("nullValues", "state"),
        metric("nullValues", "state", "percent"),
        metric("missingValues", "state", missingValues=[None]),
        metric("invalidValues", "state", "percent", pattern="a"),
        metric("duplicateValues", "state"),
        metric("duplicateValues", properties=["state", "pax"]),
        metric("rowCount"),
        sql("SELECT sum({column}) FROM {table}", "pax"),
    ],
)
def test_an_empty_table_has_nothing_to_count(empty: psycopg.Connection, rule: QualityRule) -> None:
    assert value(empty, rule) == 0


# five rows: threshold that holds, threshold that does not
THRESHOLDS: Mapping[str, tuple[list[object], list[object]]] = {
    "mustBe": ([5], [4]),
    "mustNotBe": ([4], [5]),
    "mustBeGreaterThan": ([4], [5]),
    "mustBeGreaterOrEqualTo": ([4, 5], [6]),
    "mustBeLessThan": ([6], [5]),
    "mustBeLessOrEqualTo": ([5, 6], [4]),
    "mustBeBetween": ([[5, 6], [4, 5]], [[6, 7], [3, 4]]),
    "mustNotBeBetween": ([[6, 7], [3, 4]], [[5, 6], [4, 5]]),
}


def test_what_satisfies_operators(legs: psycopg.Connection) -> None:
    assert set(THRESHOLDS) == set(OPERATORS)
    for operator, sides in THRESHOLDS.items():
        for passes, thresholds in zip((True, False), sides, strict=True):
            for threshold in thresholds:
                rule = replace(metric("rowCount"), operator=operator, threshold=threshold)
                (result,) = evaluate(legs, replace(LEGS, quality=(rule,)))
                assert result.passed is passes, (operator, threshold)


def test_results_are_in_the_order_of_the_rules(legs: psycopg.Connection) -> None:
    rules = (metric("rowCount"), metric("nullValues", "state"), sql("SELECT 7"))
    results = evaluate(legs, replace(LEGS, quality=rules))
    assert [(result.rule, result.value) for result in results] == list(zip(rules, (5, 1, 7), strict=True))


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (
            "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
            psycopg.errors.FeatureNotSupported,
        ),
        ("SELECT count(*) FROM {table}; DELETE FROM {table}", psycopg.errors.SyntaxError),
        ("DELETE FROM {table} RETURNING 1", psycopg.errors.SyntaxError),
    ],
)
def test_a_rule_that_writes_is_refused(legs: psycopg.Connection, query: str, error: type[psycopg.Error]) -> None:
    with pytest.raises(error):
        value(legs, sql(query))
    assert value(legs, metric("rowCount")) == len(ROWS)
