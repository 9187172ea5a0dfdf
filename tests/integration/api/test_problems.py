"""Every error has one shape, and none tells what the driver said."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import psycopg
import pytest

FIELDS = {
    "type", "title", "status", "detail", "instance", "request_id", "code", "message", "details", "hint",
}  # fmt: skip
DRIVER_WORDS = ("asyncpg", "psycopg", "postgres", "relation", "curated.", "Traceback", "statement timeout", "SELECT")


class Serve(Protocol):
    def __call__(self, **options: Any) -> AbstractContextManager[Any]: ...


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == FIELDS
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:pista:problem:{code}")
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["message"] in problem["detail"]
    assert not any(word in answer.text for word in DRIVER_WORDS), answer.text
    return problem


@contextmanager
def locked(api: Any, table: str = "readings") -> Iterator[psycopg.Connection[Any]]:
    """Nobody can read the table meanwhile."""
    with psycopg.connect(api.admin_dsn) as connection:
        connection.execute(f"LOCK TABLE curated.{table} IN ACCESS EXCLUSIVE MODE".encode())
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not-found"),
        ("GET", "/datasets/", 404, "not-found"),
        ("GET", "/docs/../etc/passwd", 404, "not-found"),
        ("GET", "/docs/secret.js", 404, "not-found"),
        ("GET", "/v1/redings", 404, "unknown-dataset"),
        ("GET", "/datasets/redings", 404, "unknown-dataset"),
        ("GET", "/datasets?x=1", 400, "unknown-parameter"),
        ("POST", "/v1/readings", 405, "method-not-allowed"),
        ("DELETE", "/datasets", 405, "method-not-allowed"),
        ("PATCH", "/v1/readings/A,1", 405, "method-not-allowed"),
        ("GET", "/v1/readings?hidden=eq.x", 400, "unknown-parameter"),
        ("GET", "/v1/readings?select=hidden", 400, "unknown-column"),
        ("GET", "/v1/readings?order=hidden", 400, "unknown-column"),
        ("GET", "/v1/readings?cursor=abc", 400, "invalid-cursor"),
        ("GET", "/v1/readings?level=eq.x", 400, "invalid-value"),
        ("GET", "/v1/readings?state=eq.%FF", 400, "invalid-query"),
        ("GET", "/v1/readings?label=eq." + "x" * 9000, 414, "uri-too-long"),
        ("GET", "/v1/readings/", 400, "invalid-value"),
        ("GET", "/v1/readings/A,99", 404, "unknown-record"),
    ],
)
def test_one_shape(api: Any, method: str, path: str, status: int, code: str) -> None:
    answer = api.client.request(method, path)
    check(answer, status, code)
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_names_are_suggested(api: Any) -> None:
    assert api.get("/v1/redings").json()["hint"] == "Did you mean 'readings'?"
    assert api.get("/v1/readings?sensr=eq.1").json()["hint"] == "Did you mean 'sensor'?"
    assert "hidden" not in api.get("/v1/readings?nothing=eq.1").text


@pytest.mark.parametrize(("accept", "status"), [("text/csv", 406), ("application/vnd.pgrst.object+json", 406),
                                                ("text/html, */*;q=0.8", 200), ("application/json; charset=utf-8", 200)])  # fmt: skip  # noqa: E501
def test_representations(api: Any, accept: str, status: int) -> None:
    answer = api.get("/v1/readings?limit=1", headers={"Accept": accept})
    assert answer.status_code == status
    if status == 406:
        check(answer, 406, "not-acceptable")


def test_a_cursor_of_another_query_is_refused(api: Any) -> None:
    cursor = dict(httpx.URL(api.get("/v1/readings?limit=5").links["next"]["url"]).params)["cursor"]
    for query in ("limit=6", "limit=5&order=level", "limit=5&level=gt.0"):
        check(api.get(f"/v1/readings?{query}&cursor={cursor}"), 400, "invalid-cursor")
    check(api.get(f"/v1/events?limit=5&cursor={cursor}"), 400, "invalid-cursor")


@pytest.mark.parametrize(
    "text",
    ["'; DROP TABLE curated.readings; --", "1) OR 1=1 --", "$1", "\\", '"', "x' OR 'x'='x", "%' OR 1=1", "a\u0000"],
)
def test_injection_finds_nothing(api: Any, text: str) -> None:
    for name in ("label", "station"):
        for filtered in (f"eq.{text}", f'in.("{text}")', f"like.{text}"):
            answer = api.get("/v1/readings", params={name: filtered})
            assert answer.status_code in (200, 400)
    for name in ("order", "select", "limit", text):
        assert api.get("/v1/readings", params={name: text}).status_code == 400
    assert api.get(f"/v1/{quote(text)}").status_code in (400, 404)
    assert len(api.get("/v1/readings?select=sensor").json()) == 240


def test_a_slow_statement_ends(serve: Serve) -> None:
    with serve(api_statement_seconds=0.2) as api:
        api.get("/v1/events?limit=1")
        with locked(api):
            problem = check(api.get("/v1/readings"), 504, "query-timeout")
        assert "0.2 seconds" in problem["message"]
        assert api.get("/v1/readings?limit=1").status_code == 200


def test_busy_connections_are_said_so(serve: Serve, eventually: Any) -> None:
    with serve(api_pool_size=1, api_pool_wait_seconds=0.2) as api:
        api.get("/v1/events?limit=1")
        with locked(api) as blocker:
            waiting = threading.Thread(target=api.get, args=("/v1/readings",))
            waiting.start()
            eventually(lambda: _blocked(blocker), timeout=5)
            answer = api.get("/v1/events?limit=2")
            check(answer, 503, "busy")
            assert answer.headers["Retry-After"] == "1"
            ready = api.get("/readyz")
            assert ready.status_code == 503
            assert "pool" in ready.text
            blocker.rollback()
            waiting.join()
        assert api.get("/v1/events?limit=2").status_code == 200


def _blocked(admin: psycopg.Connection[Any]) -> list[Any]:
    return admin.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'pista-api' AND wait_event_type = 'Lock'"
        " AND datname = current_database()"
    ).fetchall()


def test_a_killed_backend_is_a_503_and_the_next_request_works(serve: Serve, eventually: Any) -> None:
    with serve() as api:
        api.get("/v1/events?limit=1")
        answers: list[httpx.Response] = []
        with locked(api) as admin:
            waiting = threading.Thread(target=lambda: answers.append(api.get("/v1/readings")))
            waiting.start()
            pids = eventually(lambda: _blocked(admin), timeout=5)
            admin.execute("SELECT pg_terminate_backend(%s)", pids[0])
            waiting.join()
        problem = check(answers[0], 503, "database-unavailable")
        assert problem["message"] == "The database does not answer."
        assert answers[0].headers["Retry-After"]
        assert api.get("/v1/readings?limit=1").status_code == 200


def test_a_table_that_does_not_fit_the_catalog_is_a_503(api: Any) -> None:
    api.execute("ALTER TABLE curated.events RENAME COLUMN note TO remark")
    try:
        check(api.get("/v1/events?limit=7"), 503, "catalog-changing")
    finally:
        api.execute("ALTER TABLE curated.events RENAME COLUMN remark TO note")
    assert api.get("/v1/events?limit=7").status_code == 200


def test_what_nobody_expected_is_a_500_without_its_text(api: Any, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr("api.rows.page_statement", lambda *_: 1 / 0)
    answer = api.get("/v1/readings?limit=9")
    problem = check(answer, 500, "internal")
    assert "division" not in answer.text
    assert any(record.exc_info and problem["request_id"] in record.getMessage() for record in caplog.records)


def test_any_page_may_ask_from_a_browser(api: Any) -> None:
    answer = httpx.options(
        f"{api.url}/v1/readings",
        headers={"Origin": "https://example.org", "Access-Control-Request-Method": "GET"},
    )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Link" in api.get("/v1/readings?limit=1").headers["Access-Control-Expose-Headers"]


def test_request_ids_are_kept_if_they_are_harmless(api: Any) -> None:
    assert api.get("/livez", headers={"X-Request-Id": "abc.1-2_3"}).headers["X-Request-Id"] == "abc.1-2_3"
    assert api.get("/livez", headers={"X-Request-Id": 'a"b'}).headers["X-Request-Id"] != 'a"b'


def test_the_role_can_do_no_more_than_read_what_is_served(api: Any) -> None:
    allowed = "SELECT station, _version FROM curated.readings LIMIT 1"
    refused = [
        "SELECT hidden FROM curated.readings",
        "SELECT * FROM curated.readings",
        "SELECT * FROM access.keys",
        "SELECT * FROM ingest.batches",
        "UPDATE curated.readings SET state = 'open'",
        "DELETE FROM curated.readings",
        "UPDATE catalog.versions SET version = 0",
        "CREATE TABLE curated.mine (a int)",
        "CREATE TABLE public.mine (a int)",
    ]
    with psycopg.connect(api.api_dsn, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(allowed.encode())
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_sessions_are_read_only_and_bounded(api: Any) -> None:
    api.get("/v1/events?limit=1")
    with psycopg.connect(api.admin_dsn) as admin:
        found = admin.execute(
            "SELECT application_name FROM pg_stat_activity WHERE usename = 'pista_api' AND datname = current_database()"
        ).fetchall()
    assert {"pista-api", "pista-api-feed"} <= {name for (name,) in found}
    database = api.app.state.service.database

    async def show() -> list[str]:
        connection = await database._pool.acquire()
        try:
            names = ("default_transaction_read_only", "statement_timeout", "idle_in_transaction_session_timeout")
            return [await connection.fetchval(f"SHOW {name}") for name in (*names, "timezone")]
        finally:
            await database._pool.release(connection)

    loop = database._pool._loop
    assert asyncio.run_coroutine_threadsafe(show(), loop).result(5) == ["on", "10s", "10s", "UTC"]
