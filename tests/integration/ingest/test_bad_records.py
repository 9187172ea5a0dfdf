"""Bad records never stop good ones: they are kept whole, each with the reason, and can be loaded later."""

import json
import random
import secrets
from collections import Counter
from dataclasses import replace

from pista.contracts.dataset import Column, LogicalType
from pista.ingest import again
from pista.warehouse.connection import connect

from .conftest import Lab, event

MIB = 1 << 20


def random_text(size: int) -> str:
    return secrets.token_urlsafe(size)[:size]


# what a producer can get wrong, how often, and the reason that the quarantine must give
KINDS = [
    (5, "not_json", lambda i: (b"k", b'{"id": "cut", "state": "o')),
    (5, "wrong_type", lambda i: event(f"t{i}", pax="many")),
    (4, "missing_field", lambda i: (b"k", b'{"state": "on"}')),
    (4, "not_in_enum", lambda i: event(f"e{i}", state="broken")),
    (2, "null_byte", lambda i: event(f"n{i}", passport="\x00")),
    (2, "null_byte", lambda i: (b"k", b'{"id": "raw\x00null"}')),
    (2, "value_too_large", lambda i: event(f"l{i}", passport="x" * (2 * MIB))),
    (3, "not_utf8", lambda i: (b"k", b'{"id": "\xff\xfe"}')),
    (3, "two_documents", lambda i: (b"k", b'{"id": "a1"}{"id": "a2"}')),
    (2, "empty_value", lambda i: (b"k", b"")),
    (2, "not_an_object", lambda i: (b"k", b"null")),
    (1, "not_an_object", lambda i: (b"k", b"[]")),
    (1, "tombstone_without_key", lambda i: (b"\xff", None)),
]


def test_37_bad_among_10000_are_quarantined_with_their_reasons_and_the_others_load(lab: Lab) -> None:
    rng = random.Random(2013)
    bad = [(reason, make(i)) for count, reason, make in KINDS for i in range(count)]
    # a key too long for an index: only the database can know
    bad.append(("database_refused", event(random_text(9_000))))
    assert len(bad) == 37
    good = [event(f"g{i}") for i in range(9_963)]
    places = sorted(rng.sample(range(1, 10_000), 36))
    rng.shuffle(bad)
    # the literal null comes first in its batch too, where a careless JSON reader dies
    first = next(i for i, (_, (_, value)) in enumerate(bad) if value == b"null")
    bad.insert(0, bad.pop(first))
    remaining = iter([value for _, value in bad[1:]])
    stream = [bad[0][1]]
    goods = iter(good)
    stream += [next(remaining) if place in set(places) else next(goods) for place in range(1, 10_000)]
    lab.produce(stream, partition=0)

    report = lab.drain()

    assert (report.records, report.loaded, report.quarantined) == (10_000, 9_963, 37)
    assert lab.value("SELECT count(*) FROM curated.legs") == 9_963
    assert lab.value("SELECT row_count FROM catalog.versions WHERE dataset = 'legs'") == 9_963
    reasons = dict(lab.query("SELECT reason, count(*) FROM ingest.quarantine GROUP BY reason"))
    assert reasons == dict(Counter(reason for reason, _ in bad))
    kept = lab.query('SELECT key, value FROM ingest.quarantine ORDER BY "offset"')
    assert Counter((k and bytes(k), v and bytes(v)) for k, v in kept) == Counter((k, v) for _, (k, v) in bad)
    lab.reconcile()


def test_an_operator_finds_place_headers_and_sentence(lab: Lab) -> None:
    lab.produce([event("a"), (b"k", b'{"id": 5}')], partition=1)
    lab.drain()
    row = lab.query(
        'SELECT topic, partition, "offset", key, value, reason, detail, column_name FROM ingest.quarantine'
    )[0]
    assert row == (
        lab.dataset.topic, 1, 1, b"k", b'{"id": 5}', "wrong_type", "field 'id' is 5; valid: a text", "id",
    )  # fmt: skip


def test_a_mended_contract_loads_what_lay_in_quarantine_once(lab: Lab) -> None:
    lab.produce([event("a", state="new"), event("b", state="worse"), event("c")], partition=0)
    lab.drain()
    state = replace(lab.dataset.columns[1], enum=("on", "off", "new"))
    columns = (lab.dataset.columns[0], state, *lab.dataset.columns[2:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="two")
    lab.migrate()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        for _ in range(2):
            again.retry(connection, lab.dataset, lab.settings, run_id="retry")
    assert lab.query("SELECT id, state FROM curated.legs ORDER BY id") == [("a", "new"), ("c", "on")]
    assert lab.query(
        "SELECT convert_from(value, 'UTF8')::jsonb ->> 'id', detail FROM ingest.quarantine WHERE resolved_at IS NULL"
    ) == [("b", "field 'state' is \"worse\"; valid: on, off, new")]
    assert lab.value("SELECT count(*) FROM raw.legs") == 2
    lab.reconcile()


def test_headers_survive_quarantine_and_retry(lab: Lab) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka_bootstrap)
    producer.send(
        lab.dataset.topic, key=b"a", value=event("a", state="new")[1], headers=[("trace", b"\x01")], partition=0
    )
    producer.flush()
    producer.close()
    lab.drain()
    state = Column("state", "state", LogicalType.STRING, "text")
    columns = (lab.dataset.columns[0], state, *lab.dataset.columns[2:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="two")
    lab.migrate()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        again.retry(connection, lab.dataset, lab.settings, run_id="retry")
    assert lab.value("SELECT headers FROM raw.legs") == [["trace", "AQ=="]]
    assert json.loads(bytes(lab.value("SELECT value FROM raw.legs")))["state"] == "new"


def test_facts_are_loaded_once_each_and_a_deletion_is_refused(append_lab: Lab) -> None:
    append_lab.produce([event("a"), event("a"), (b"a", None)], partition=0)
    report = append_lab.drain()
    assert (report.loaded, report.quarantined) == (2, 1)
    assert append_lab.query("SELECT id, _partition, _offset FROM curated.facts ORDER BY _offset") == [
        ("a", 0, 0),
        ("a", 0, 1),
    ]
    append_lab.reconcile()
