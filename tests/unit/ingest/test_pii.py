"""Personal values are hashed or gone before anything but quarantine stores them."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, Origin, Pii
from pista.ingest.conditions import PiiSecretMissing
from pista.ingest.decode import Decoder
from pista.kafka.records import Record, Records
from pista.settings import Settings

SETTINGS = Settings(pii_secret=SecretStr("s3cret"))
STRING = LogicalType.STRING
PASSPORT = Column(
    "passport", "who.passport", STRING, "text", required=True, path=("who", "passport"), pattern="[A-Z]{2}[0-9]+",
    pii=Pii.HASH,
)  # fmt: skip
NAME = Column("name", "who.name", STRING, "text", path=("who", "name"), max_length=10, pii=Pii.DROP)
CALLER = Column("caller", "header.caller", STRING, "text", origin=Origin.HEADER, path=("caller",), pii=Pii.HASH)
STATE = Column("state", "state", STRING, "text", enum=("on", "off"))
DATASET = Dataset("people", "1", Kind.UPSERT, (PASSPORT, CALLER, STATE), ("passport",), dropped=(NAME,), topic="people")


def digest(text: str) -> str:
    return hmac.new(b"s3cret", text.encode(), hashlib.sha256).hexdigest()


def record(value: Any, key: bytes | None = None, headers: Any = ()) -> Record:
    return Record(0, 0, 1, key, None if value is None else json.dumps(value).encode(), headers)


EVENT = {"who": {"passport": "CO123", "name": "Ana", "seat": "1A"}, "state": "on"}


def both(dataset: Dataset, *records: Record) -> tuple[list[dict[str, Any]], Records]:
    """Rows as decoded from the topic, and the raw records, from which the same rows come again."""
    decoder, found = Decoder(dataset, SETTINGS), Records.of(records)
    decoded, stored = decoder.decode(found), decoder.stored(found)
    assert decoded.rejections == []
    again = Decoder(dataset, Settings(), from_raw=True).decode(stored)
    assert again.rejections == []
    assert again.table.to_pylist() == decoded.table.to_pylist()
    return decoded.table.to_pylist(), stored


def test_rows_and_raw_hold_hashes_in_place_of_personal_texts() -> None:
    rows, stored = both(
        DATASET,
        record(EVENT, b"CO123", (("caller", b"Ana"), ("x", b"1"))),
        record(None, b"CO123"),
        record(None, b"XX9"),
    )
    # raw's tombstones say the same keys
    assert [row["passport"] for row in rows] == [digest("CO123"), digest("CO123"), digest("XX9")]
    assert rows[0]["caller"] == digest("Ana")
    assert stored.keys == [digest("CO123").encode(), digest("CO123").encode(), digest("XX9").encode()]
    assert json.loads(stored.values[0] or b"") == {"who": {"passport": digest("CO123"), "seat": "1A"}, "state": "on"}
    assert stored.values[1:] == [None, None]
    assert stored.headers is not None
    assert stored.headers[0] == (("caller", digest("Ana").encode()), ("x", b"1"))


@pytest.mark.parametrize(
    "key", [{"who": {"passport": "CO123", "name": "Ana"}, "n": 1}, {"passport": "CO123", "name": "Ana"}]
)
def test_personal_fields_of_a_key_that_is_an_object_are_concealed_in_place(key: Any) -> None:
    rows, stored = both(DATASET, record(EVENT, json.dumps(key).encode()), record(None, json.dumps(key).encode()))
    assert [row["passport"] for row in rows] == [digest("CO123")] * 2
    for found in stored.keys:
        assert found is not None
        assert b"CO123" not in found
        assert b"Ana" not in found


def test_a_key_that_repeats_a_personal_text_is_concealed_too() -> None:
    dataset = replace(DATASET, kind=Kind.APPEND, key=())
    _, stored = both(dataset, record(EVENT, b"CO123"), record(EVENT, b"Ana"), record(EVENT, b"else"))
    assert stored.keys == [digest("CO123").encode(), None, b"else"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_before_and_after_a_change_are_concealed(wrapped: bool) -> None:
    dataset = replace(DATASET, debezium=True)

    def change(op: str, before: Any, after: Any) -> Record:
        event = {"op": op, "before": before, "after": after}
        key = {"passport": "CO123"}
        return record(
            {"schema": None, "payload": event} if wrapped else event,
            json.dumps({"schema": None, "payload": key} if wrapped else key).encode(),
        )

    rows, stored = both(dataset, change("u", EVENT, EVENT), change("d", EVENT, None))
    assert [row["passport"] for row in rows] == [digest("CO123")] * 2
    assert not any(text in value for value in (*stored.values, *stored.keys) if value for text in (b"CO123", b"Ana"))


def test_a_value_is_held_to_its_rules_before_it_is_hashed_or_dropped_and_no_sentence_quotes_it() -> None:
    found = [
        record(EVENT | {"who": {"passport": "bad7"}}),
        record(EVENT | {"who": {"passport": "CO1", "name": "Anastasia Romanova"}}),
        Record(0, 0, 1, b"k", b'{"who": {"passport": "CO55"', ()),
        record(None, b"bad7"),
        record(EVENT | {"state": "broken"}),
    ]
    result = Decoder(DATASET, SETTINGS).decode(Records.of(found))
    assert [(r.reason, r.column) for r in result.rejections] == [
        ("pattern_mismatch", "passport"),
        ("wrong_length", "name"),
        ("not_json", None),
        ("tombstone_without_key", None),
        ("not_in_enum", "state"),
    ]
    assert not any(word in r.detail for r in result.rejections for word in ("bad7", "Romanova", "CO55"))
    assert "broken" in result.rejections[-1].detail


def test_without_a_secret_nothing_is_decoded() -> None:
    with pytest.raises(PiiSecretMissing, match="pii: hash of passport, caller needs a secret, and PISTA_PII_SECRET"):
        Decoder(DATASET, Settings())
