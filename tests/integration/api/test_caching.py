"""ETags, conditional requests and the version feed."""

import gzip
from contextlib import AbstractContextManager
from typing import Any, Protocol

import psycopg


class Serve(Protocol):
    def __call__(self, **options: Any) -> AbstractContextManager[Any]: ...


PAGE = "/v1/readings?limit=3&select=station,sensor"


def test_a_current_copy_is_confirmed_without_a_body(api: Any) -> None:
    first = api.get(PAGE)
    assert first.status_code == 200
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in first.headers["Vary"]
    assert first.headers["Last-Modified"].endswith("GMT")
    etag = first.headers["ETag"]
    for sent in (etag, etag.removeprefix("W/"), f'"other", {etag}'):
        again = api.get(PAGE, headers={"If-None-Match": sent})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
        assert again.headers["Dataset-Version"] == first.headers["Dataset-Version"]
    assert api.get(PAGE, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_new_version_is_a_new_etag(api: Any, eventually: Any) -> None:
    before = api.get(PAGE)
    api.publish("readings")
    after = api.get(PAGE)
    assert int(after.headers["Dataset-Version"]) == int(before.headers["Dataset-Version"]) + 1
    assert after.headers["ETag"] != before.headers["ETag"]
    asked = {"If-None-Match": before.headers["ETag"]}
    eventually(lambda: api.get(PAGE, headers=asked).status_code == 200, timeout=2)
    assert api.get(PAGE, headers={"If-None-Match": after.headers["ETag"]}).status_code == 304


def test_the_feed_hears_a_notification_before_it_polls(api: Any, eventually: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("api.versions.POLL_SECONDS", 60.0)
    feed = api.app.state.service.feed
    known_at = feed._known_at
    feed.reload()  # ends the short wait that is under way
    eventually(lambda: feed._known_at > known_at, timeout=5)
    before = feed.versions["readings"].version
    api.publish("readings")
    eventually(lambda: feed.versions["readings"].version > before, timeout=2)
    monkeypatch.undo()
    feed.reload()


def test_every_difference_of_the_answer_is_another_etag(api: Any) -> None:
    paths = [PAGE, "/v1/readings?limit=4&select=station,sensor", "/v1/readings?limit=3&select=sensor,station",
             PAGE + "&order=sensor", PAGE + "&sensor=gt.3", "/v1/events?limit=3", "/v1/readings/A,1",
             api.get(PAGE).links["next"]["url"]]  # fmt: skip
    assert len({api.get(path).headers["ETag"] for path in paths}) == len(paths)


def test_a_changed_contract_or_epoch_is_another_etag(api: Any, eventually: Any) -> None:
    before = api.get(PAGE)
    cursor = before.links["next"]["url"]
    api.execute("UPDATE catalog.versions SET epoch = gen_random_uuid() WHERE dataset = 'readings'")
    rebuilt = api.get(PAGE)
    assert rebuilt.headers["ETag"] != before.headers["ETag"]
    assert api.get(cursor).status_code == 410
    assert api.get(cursor).json()["code"] == "cursor-expired"
    api.execute("UPDATE catalog.datasets SET contract_hash = 'another' WHERE name = 'readings'")
    eventually(lambda: api.get(PAGE).headers["ETag"] != rebuilt.headers["ETag"], timeout=5)


def test_nothing_is_confirmed_without_a_key(api: Any) -> None:
    etag = api.get(PAGE).headers["ETag"]
    answer = api.get(PAGE, headers={"If-None-Match": etag, "X-API-Key": "wrong"})
    assert answer.status_code == 401


def test_nothing_is_confirmed_once_the_feed_is_lost(serve: Serve, eventually: Any) -> None:
    with serve() as api:
        etag = api.get(PAGE).headers["ETag"]
        asked = {"If-None-Match": etag}
        assert api.get(PAGE, headers=asked).status_code == 304
        with psycopg.connect(api.admin_dsn, autocommit=True) as admin:
            (name,) = admin.execute("SELECT current_database()").fetchone() or ("",)
            with psycopg.connect(api.admin_dsn.replace(f"/{name}", "/postgres"), autocommit=True) as other:
                other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
                try:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'pista-api-feed' AND datname = current_database()"
                    )
                    eventually(lambda: api.get(PAGE, headers=asked).status_code == 200, timeout=4)
                    assert api.get(PAGE, headers=asked).headers["ETag"] == etag
                    ready = api.get("/readyz")
                    assert ready.status_code == 503
                    assert "version feed" in ready.text
                finally:
                    other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        eventually(lambda: api.get(PAGE, headers=asked).status_code == 304, timeout=10)
        eventually(lambda: api.get("/readyz").status_code == 200, timeout=5)


def test_compression_keeps_the_etag(api: Any) -> None:
    plain = api.get("/v1/readings", headers={"Accept-Encoding": "identity"})
    with api.client.stream("GET", "/v1/readings", headers={"Accept-Encoding": "gzip"}) as packed:
        body = b"".join(packed.iter_raw())
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(body) < len(plain.content) / 3
    assert gzip.decompress(body) == plain.content
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert "Accept-Encoding" in plain.headers["Vary"]


def test_head_is_get_without_the_body(api: Any) -> None:
    got = api.get(PAGE)
    head = api.client.head(PAGE)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.content))
    for name in ("ETag", "Content-Range", "Link", "Dataset-Version"):
        assert head.headers[name] == got.headers[name]
