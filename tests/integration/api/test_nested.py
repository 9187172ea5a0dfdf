"""Columns that hold objects and arrays: JSON in rows, typed in OpenAPI, and neither compared nor ordered."""

from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg.types.json import Jsonb

from .conftest import declare, fill

COLUMNS = [
    ("id", "integer", "bigint", False),
    ("legs", "array", "jsonb", True),
    ("crew", "object", "jsonb", True),
]
ROWS: list[dict[str, Any]] = [
    {"id": 1, "legs": [{"from": "BOG", "to": "MDE"}, 1.5, None, "é"], "crew": {"captain": {"age": 41}, "b": []}},
    {"id": 2, "legs": [], "crew": {}},
    {"id": 3, "legs": None, "crew": None},
]


@pytest.fixture
def trips(api: Any, eventually: Any) -> Any:
    with psycopg.connect(api.admin_dsn) as connection:
        if not connection.execute("SELECT FROM catalog.datasets WHERE name = 'trips'").fetchall():
            declare(connection, "trips", "upsert", ["id"], COLUMNS)
            stored = [{n: Jsonb(v) if isinstance(v, dict | list) else v for n, v in row.items()} for row in ROWS]
            fill(connection, "trips", stored)
    eventually(lambda: api.get("/v1/trips").status_code == 200, timeout=5)
    return api


def test_objects_and_arrays_are_json_in_rows(trips: Any) -> None:
    assert trips.get("/v1/trips").json() == ROWS
    assert trips.get("/v1/trips/1").json() == ROWS[0]
    assert trips.get("/v1/trips?select=legs&limit=1").json() == [{"legs": ROWS[0]["legs"]}]


def test_they_are_there_or_not(trips: Any) -> None:
    assert [row["id"] for row in trips.get("/v1/trips?crew=is.null").json()] == [3]
    assert [row["id"] for row in trips.get("/v1/trips?legs=not.is.null").json()] == [1, 2]


@pytest.mark.parametrize("condition", ["eq.{}", "gt.1", "in.(1,2)", "like.*a*", "not.eq.[]"])
def test_they_cannot_be_compared(trips: Any, condition: str) -> None:
    answer = trips.get("/v1/trips", params={"crew": condition})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["message"] == "'crew' is jsonb, which cannot be compared."
    assert problem["details"] == "Valid: is.null, is.not_null."
    assert "columns of their own" in problem["hint"]


def test_they_have_no_order(trips: Any) -> None:
    problem = trips.get("/v1/trips?order=legs.desc").json()
    assert problem["message"] == "'order' names 'legs', whose type jsonb has no order."
    assert problem["details"] == "Valid columns with an order: id."


def test_catalog_and_openapi_say_what_they_are(trips: Any) -> None:
    columns = {column["name"]: column for column in trips.get("/datasets/trips").json()["columns"]}
    assert [columns[name]["type"] for name in ("legs", "crew")] == ["array", "object"]
    document = trips.get("/openapi.json").json()
    schema = document["components"]["schemas"]["row.trips"]
    assert (schema["properties"]["legs"]["type"], schema["properties"]["crew"]["type"]) == (
        ["array", "null"],
        ["object", "null"],
    )
    for row in ROWS:
        Draft202012Validator(schema).validate(row)
    with pytest.raises(Exception, match="is not of type 'array'"):
        Draft202012Validator(schema).validate({"legs": {}})
    parameters = document["paths"]["/v1/trips"]["get"]["parameters"]
    crew = next(parameter for parameter in parameters if parameter.get("name") == "crew")
    assert crew["description"] == "The crew. Filter: `is.null` or `is.not_null`."
    assert crew["schema"]["pattern"] == r"^(not\.)?is\.(not_)?null$"
