"""The catalog over HTTP, OpenAPI, pages, health: what the API says about itself."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pista.contracts.loading import load_datasets
from pista.ingest import pausing
from pista.ingest.dropping import drop
from pista.warehouse.connection import connect

from .conftest import declare


class Serve(Protocol):
    def __call__(self, **options: Any) -> AbstractContextManager[Any]: ...


def test_the_list_says_how_fresh_each_dataset_is(api: Any, eventually: Any) -> None:
    found = {dataset["name"]: dataset for dataset in api.get("/datasets").json()}
    readings = found["readings"]
    assert (readings["row_count"], readings["stale"], readings["freshness_seconds"]) == (240, False, 3600)
    assert readings["links"]["rows"] == "/v1/readings"
    assert datetime.fromisoformat(readings["as_of"]).utcoffset() is not None
    api.execute("UPDATE catalog.versions SET as_of = now() - interval '2 hours' WHERE dataset = 'readings'")
    eventually(lambda: api.get("/datasets/readings").json()["stale"] is True, timeout=5)
    api.execute("UPDATE catalog.versions SET as_of = NULL WHERE dataset = 'readings'")
    eventually(lambda: api.get("/datasets/readings").json()["as_of"] is None, timeout=5)
    assert api.get("/datasets/readings").json()["stale"] is True
    api.execute("UPDATE catalog.versions SET as_of = now() WHERE dataset = 'readings'")
    eventually(lambda: api.get("/datasets/readings").json()["stale"] is False, timeout=5)


def test_a_paused_dataset_says_since_when_and_why(api: Any, eventually: Any) -> None:
    assert api.get("/datasets/readings").json()["paused"] is None
    with connect(api.admin_dsn, "test") as connection:
        assert pausing.pause(connection, "readings", "the sensors are moved")
        try:
            paused = eventually(lambda: api.get("/datasets/readings").json()["paused"], timeout=5)
            assert paused["reason"] == "the sensors are moved"
            assert datetime.fromisoformat(paused["since"]).utcoffset() is not None
            assert api.get("/v1/readings?limit=1").status_code == 200, "what is there goes on being served"
        finally:
            pausing.resume(connection, "readings")
    eventually(lambda: api.get("/datasets/readings").json()["paused"] is None, timeout=5)


def test_a_dropped_dataset_is_not_found(api: Any, eventually: Any) -> None:
    with connect(api.admin_dsn, "test") as connection:
        declare(connection, "doomed", "mart", ["id"], [("id", "string", "text", False)])
        connection.execute("NOTIFY pista_catalog")
    eventually(lambda: api.get("/v1/doomed").status_code == 200, timeout=10)
    assert drop(api.admin_dsn, "doomed", reason="over").kind == "mart"
    eventually(lambda: api.get("/v1/doomed").status_code == 404, timeout=10)
    assert api.get("/datasets/doomed").status_code == 404


def test_a_dataset_describes_its_columns(api: Any) -> None:
    dataset = api.get("/datasets/readings").json()
    assert dataset["key"] == ["station", "sensor"]
    assert (dataset["owner"], dataset["support"], dataset["kind"]) == ("the team", "x@y", "upsert")
    columns = {column["name"]: column for column in dataset["columns"]}
    assert columns["level"]["unit"] == "min"
    assert columns["state"]["enum"] == ["open", "closed", "unknown"]
    assert (columns["seen_at"]["type"], columns["seen_at"]["sql_type"]) == ("timestamp", "timestamptz")
    assert "hidden" not in columns


def test_a_new_dataset_needs_no_restart(api: Any, eventually: Any) -> None:
    assert api.get("/v1/fresh").status_code == 404
    with psycopg.connect(api.admin_dsn) as connection:
        connection.execute("SET ROLE pista_owner")
        connection.execute("CREATE TABLE curated.fresh (id bigint PRIMARY KEY, _version int8, _updated_at timestamptz)")
        connection.execute("GRANT SELECT ON curated.fresh TO pista_api")
        connection.execute("INSERT INTO curated.fresh VALUES (1, 1, now())")
        connection.execute(
            "INSERT INTO catalog.datasets (name, kind, contract_version, contract_hash, description, domain, key)"
            " VALUES ('fresh', 'upsert', '1', 'h', '', 'd', '{id}')"
        )
        connection.execute(
            "INSERT INTO catalog.columns (dataset, position, name, logical_type, sql_type, nullable)"
            " VALUES ('fresh', 1, 'id', 'integer', 'bigint', false)"
        )
        connection.execute("INSERT INTO catalog.versions (dataset) VALUES ('fresh')")
    answer = eventually(lambda: (found := api.get("/v1/fresh")).status_code == 200 and found, timeout=4)
    assert answer.json() == [{"id": 1}]
    assert "/v1/fresh" in api.get("/openapi.json").json()["paths"]
    api.execute("UPDATE catalog.datasets SET served = false WHERE name = 'fresh'", "NOTIFY pista_catalog")
    eventually(lambda: api.get("/v1/fresh").status_code == 404, timeout=4)
    assert "/v1/fresh" not in api.get("/openapi.json").json()["paths"]


def test_a_dataset_without_a_served_key_is_left_out_aloud(api: Any, eventually: Any, caplog: Any) -> None:
    api.execute(
        "INSERT INTO catalog.datasets (name, kind, contract_version, contract_hash, description, domain, key)"
        " VALUES ('keyless', 'upsert', '1', 'h', '', 'd', '{nothing}')",
        "INSERT INTO catalog.versions (dataset) VALUES ('keyless')",
        "NOTIFY pista_catalog",
    )
    eventually(
        lambda: "dataset keyless cannot be served: key columns ['nothing'] are not served" in caplog.text, timeout=4
    )
    assert api.get("/v1/keyless").status_code == 404
    api.execute("DELETE FROM catalog.datasets WHERE name = 'keyless'")


def test_a_later_schema_is_served_by_this_code(api: Any, eventually: Any) -> None:
    service = api.app.state.service
    before = service.feed.catalog
    api.execute(
        "ALTER TABLE catalog.columns ADD COLUMN novelty text",
        "ALTER TABLE catalog.datasets ADD COLUMN novelty text",
        "ALTER TABLE catalog.versions ADD COLUMN novelty text",
        "NOTIFY pista_catalog",
    )
    eventually(lambda: service.feed.catalog is not before, timeout=4)
    assert api.get("/v1/readings?limit=1").status_code == 200
    assert api.get("/readyz").status_code == 200


def test_every_contract_of_the_repository_is_served_as_it_says(api: Any) -> None:
    contracts = load_datasets(Path(__file__).resolve().parents[3] / "datasets")
    assert contracts
    for name, contract in contracts.items():
        answer = api.get(f"/v1/{name}")
        assert (answer.status_code, answer.json()) == (200, []), answer.text
        described = api.get(f"/datasets/{name}").json()
        columns = {column["name"]: column for column in described["columns"]}
        assert list(columns) == [column.name for column in contract.columns if column.served]
        assert {column.name: column.unit for column in contract.columns if column.served} == {
            column: detail["unit"] for column, detail in columns.items()
        }
        assert tuple(described["key"]) == contract.table_key
    assert {dataset["name"] for dataset in api.get("/datasets").json()} >= set(contracts)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    registry: Any = Registry().with_resource("urn:api", DRAFT202012.create_resource(document))
    return Draft202012Validator(
        {"$ref": f"urn:api#/components/schemas/{name}"}, registry=registry, format_checker=FormatChecker()
    )


def test_openapi_is_typed_and_true(api: Any) -> None:
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for reference in set(references(document)):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    identifiers = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(identifiers) == len(set(identifiers))

    # every served dataset: its real rows satisfy its schema, and the schema lists exactly its columns
    for name in ("readings", "events"):
        rows = api.get(f"/v1/{name}").json()
        check = validator(document, f"row.{name}")
        for row in rows:
            check.validate(row)
        assert set(rows[0]) <= set(document["components"]["schemas"][f"row.{name}"]["properties"])
    level = document["components"]["schemas"]["row.readings"]["properties"]["level"]
    assert (level["type"], level["x-unit"], level["minimum"]) == (["integer", "null"], "min", -32768)
    state = document["components"]["schemas"]["row.readings"]["properties"]["state"]
    assert (state["enum"], state["examples"], state["type"]) == (["open", "closed", "unknown"], ["open"], "string")
    with pytest.raises(Exception, match="is not of type"):
        validator(document, "row.readings").validate({"level": "high"})
    validator(document, "DatasetDetail").validate(api.get("/datasets/readings").json())
    validator(document, "Problem").validate(api.get("/v1/nothing").json())
    page = document["paths"]["/v1/readings"]["get"]
    assert {"$ref": "#/components/parameters/cursor"} in page["parameters"]
    named = {parameter["name"] for parameter in page["parameters"] if "name" in parameter}
    assert named == {column["name"] for column in api.get("/datasets/readings").json()["columns"]}
    assert [next(iter(way)) for way in page["security"]] == list(document["components"]["securitySchemes"])


def test_documented_examples_are_accepted(api: Any) -> None:
    document = api.get("/openapi.json").json()
    found = 0
    for parameter in document["paths"]["/v1/readings"]["get"]["parameters"]:
        for example in re.findall(r"like `(.+)`", parameter.get("description", "")):
            found += 1
            assert re.search(parameter["schema"]["pattern"], example)
            assert api.get("/v1/readings", params={parameter["name"]: example}).status_code == 200
    assert found


def test_pages_load_nothing_from_another_host(api: Any) -> None:
    for path in ("/", "/docs", "/docs/start.js"):
        answer = api.client.get(path, headers={"X-API-Key": ""})
        assert answer.status_code == 200
        assert not re.search(r"(https?:)?//\w", answer.text), path
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_the_documentation_has_its_scripts(api: Any, require: Any) -> None:
    require("fastapi-offline", importlib.util.find_spec("fastapi_offline") is not None)
    page = api.get("/docs").text
    sources = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert len(sources) == 3
    for source in sources:
        answer = api.get(source)
        assert answer.status_code == 200
        assert answer.content
        assert answer.headers["Content-Type"].split(";")[0] in ("text/javascript", "text/css")
    assert '"/openapi.json"' in api.get("/docs/start.js").text


def test_the_catalog_page_shows_text_as_text(api: Any) -> None:
    page = api.get("/").text
    assert "All of readings &lt;b&gt;&amp;amp;&lt;/b&gt;" in page
    assert "<b>" not in page


def test_health(api: Any) -> None:
    assert api.client.get("/livez", headers={"X-API-Key": ""}).json() == {"status": "alive"}
    assert api.client.get("/readyz", headers={"X-API-Key": ""}).json() == {"status": "ready", "reasons": []}


def test_it_starts_without_a_database_and_says_so(serve: Serve, unused_port: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("api.service._START_SECONDS", 0.2)
    with serve() as reference:
        nowhere = re.sub(r":\d+/", f":{unused_port}/", reference.api_dsn)
    with serve(api_dsn=nowhere) as api:
        assert api.get("/livez").status_code == 200
        ready = api.get("/readyz")
        assert ready.status_code == 503
        reasons = " ".join(ready.json()["reasons"])
        assert all(word in reasons for word in ("pool", "catalog", "version feed"))
        answer = api.get("/v1/readings")
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")


def test_rows_of_dates_are_iso(api: Any) -> None:
    days = [row["day"] for row in api.get("/v1/readings?day=is.not_null&select=day").json()]
    assert {date.fromisoformat(day) for day in days} >= {date.max, date.min}
