"""API keys: where they may be, and what each may read."""

import base64
import logging
from typing import Any

import httpx
import pytest

KEY = "test-key-all"


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": basic(KEY)},
        {"apikey": KEY},
        {"X-API-Key": KEY},
        {"apikey": KEY, "Authorization": f"Bearer {KEY}"},
    ],
)
def test_a_key_opens_from_every_header(api: Any, headers: dict[str, str]) -> None:
    assert httpx.get(f"{api.url}/v1/readings?limit=1", headers=headers).status_code == 200
    assert httpx.get(f"{api.url}/datasets", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/readings", "/v1/nothing", "/v1/readings/A,1", "/datasets", "/datasets/readings"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "x" * 300},
        {"X-API-Key": "test-key-expired"},
        {"X-API-Key": "test-key-revoked"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !"},
        {"Authorization": basic("a\0b")},
        {"Authorization": "Negotiate abc"},
        {"apikey": KEY, "X-API-Key": "wrong"},
    ],
)
def test_without_a_good_key_nothing_is_told(api: Any, path: str, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{api.url}{path}", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    problem = answer.json()
    assert problem["code"] == "unauthenticated"
    assert "Authorization: Bearer KEY" in problem["details"]
    assert "issued by" in problem["hint"]


@pytest.mark.parametrize("name", ["apikey", "api_key", "token", "X-API-Key"])
def test_a_key_in_the_address_is_refused_and_not_repeated(api: Any, name: str) -> None:
    for path in ("/v1/readings", "/datasets"):
        answer = httpx.get(f"{api.url}{path}?{name}={KEY}")
        assert answer.status_code == 400, path
        assert answer.json()["code"] == "key-in-url"
        assert KEY not in answer.text


def test_a_limited_key_knows_its_datasets_only(api: Any) -> None:
    def ask(path: str) -> httpx.Response:
        return httpx.get(f"{api.url}{path}", headers={"apikey": "test-key-limited"})

    assert [dataset["name"] for dataset in ask("/datasets").json()] == ["events"]
    assert ask("/v1/events?limit=1").status_code == 200
    refused, missing = ask("/v1/readings"), ask("/v1/nothing")
    assert refused.status_code == missing.status_code == 404
    assert refused.json()["details"] == missing.json()["details"] == "It may read: events."
    assert ask("/datasets/readings").status_code == 404


def test_a_revoked_key_ends_with_the_cache(api: Any, eventually: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("api.keys.CACHE_SECONDS", 0.3)
    api.execute("INSERT INTO access.keys (name, hash) VALUES ('brief', access.hash_key('brief-key'))")

    def status() -> int:
        return httpx.get(f"{api.url}/datasets", headers={"apikey": "brief-key"}).status_code

    assert status() == 200
    api.execute("UPDATE access.keys SET revoked_at = now() WHERE name = 'brief'")
    eventually(lambda: status() == 401, timeout=3)


def test_the_cache_holds_no_secret(api: Any) -> None:
    api.get("/datasets")
    cache = api.app.state.service.keys._cache
    assert cache
    assert KEY not in repr(cache)
    assert KEY.encode() not in b"".join(cache)


def test_log_lines_hold_no_secret_and_no_filter(api: Any, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        api.get("/v1/readings?label=eq.personal", headers={"X-Request-Id": "abc-1"})
        httpx.get(f"{api.url}/v1/readings?apikey={KEY}")
        httpx.get(f"{api.url}/v1/readings", headers={"apikey": "wrong-secret"})
    lines = [record.getMessage() for record in caplog.records if record.name == "pista.api.access"]
    assert len(lines) == 3
    assert '"request_id":"abc-1"' in lines[0]
    assert '"key":"all"' in lines[0]
    assert '"dataset":"readings"' in lines[0]
    assert '"status":401' in lines[2]
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("pista"))
    assert not any(word in ours for word in (KEY, "wrong-secret", "personal"))
