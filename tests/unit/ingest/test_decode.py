"""Decoding: what is wrong with each bad value, and both paths agree on everything."""

import json
import random
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.ingest.arrow import Decoded
from pista.ingest.columnar import decode_columnar
from pista.ingest.decode import decode
from pista.ingest.gate import NotColumnarError
from pista.ingest.rowwise import decode_rowwise
from pista.kafka.records import Record, Records

LIMIT = 4096
COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True, max_length=12),
    Column("pax", "número de pax", LogicalType.INTEGER, "smallint", minimum=0, maximum=500),
    Column("fuel", "fuel", LogicalType.NUMBER, "double precision"),
    Column("ok", "ok", LogicalType.BOOLEAN, "boolean"),
    Column("day", "day", LogicalType.DATE, "date", minimum="2000-01-01"),
    Column("at", "at", LogicalType.TIMESTAMP, "timestamptz", required=True),
    Column("local", "local", LogicalType.TIMESTAMP, "timestamptz", zone="America/New_York"),
    Column("state", "state", LogicalType.STRING, "text", enum=("on", "off")),
    Column("code", "code", LogicalType.STRING, "text", pattern="[A-Z]{3}"),
)
DATASET = Dataset("legs", "1.0.0", Kind.UPSERT, COLUMNS, ("id",), topic="legs")
GOOD = {"id": "a", "at": "2013-01-01T00:00:00Z"}


def record(value: bytes | None, key: bytes | None = b"k", offset: int = 0) -> Record:
    return Record(0, offset, 1, key, value)


def event(**fields: object) -> bytes:
    return json.dumps(GOOD | fields, ensure_ascii=False).encode()


BAD = [
    (b"", "empty_value", None),
    (b"null", "not_an_object", None),
    (b"[1]", "not_an_object", None),
    (b'{"id": "a"', "not_json", None),
    (b"{}garbage", "not_json", None),
    (b'{"id":"a"}{"id":"b"}', "two_documents", None),
    (b"\xff\xfe{}", "not_utf8", None),
    (b'{"id":"\x00"}', "null_byte", None),
    (event(id="a\x00b"), "null_byte", "id"),
    (event(state="x" * LIMIT), "value_too_large", None),
    (b'{"id":"a"}', "missing_field", "at"),
    (event(id=None), "missing_field", "id"),
    (event(id=5), "wrong_type", "id"),
    (event(id="x" * 13), "wrong_length", "id"),
    (event(**{"número de pax": "12"}), "wrong_type", "pax"),
    (event(**{"número de pax": 1.5}), "wrong_type", "pax"),
    (event(**{"número de pax": True}), "wrong_type", "pax"),
    (event(**{"número de pax": 40_000}), "out_of_range", "pax"),
    (event(**{"número de pax": -1}), "out_of_range", "pax"),
    (event(fuel="much"), "wrong_type", "fuel"),
    (event(ok="yes"), "wrong_type", "ok"),
    (event(day="2013-02-30"), "wrong_type", "day"),
    (event(day="20130101"), "wrong_type", "day"),
    (event(day="1999-12-31"), "out_of_range", "day"),
    (event(at="2013-01-01T00:00:00"), "wrong_type", "at"),
    (event(at=1357000000), "wrong_type", "at"),
    (event(local="2013-01-01T00:00:00Z"), "wrong_type", "local"),
    (event(local="2013-03-10T02:30:00"), "nonexistent_time", "local"),
    (event(state="broken"), "not_in_enum", "state"),
    (event(code="abcd"), "pattern_mismatch", "code"),
]


@pytest.mark.parametrize(("value", "reason", "column"), BAD)
def test_a_bad_value_is_refused_with_its_reason_and_a_good_neighbour_loads(
    value: bytes, reason: str, column: str | None
) -> None:
    result = decode(DATASET, Records.of([record(event(id="before")), record(value), record(event(id="after"))]), LIMIT)
    assert [(r.index, r.reason, r.column) for r in result.rejections] == [(1, reason, column)]
    assert result.table.column("id").to_pylist() == ["before", "after"]
    assert result.index.tolist() == [0, 2]


def test_a_sentence_names_the_field_the_value_and_what_would_be_valid() -> None:
    result = decode(DATASET, Records.of([record(event(state="broken"))]), LIMIT)
    assert result.rejections[0].detail == "field 'state' is \"broken\"; valid: on, off"


def test_values_arrive_as_what_they_mean() -> None:
    value = event(
        **{"número de pax": 12, "fuel": 1, "day": "2013-06-01", "at": "2013-01-01T01:00:00.25+01:00"},
        local="2013-07-01T12:00:00",
        state="on",
        code="EWR",
        ok=True,
        unknown={"ignored": []},
    )
    assert decode(DATASET, Records.of([record(value)]), LIMIT).table.to_pylist() == [
        {
            "id": "a",
            "pax": 12,
            "fuel": 1.0,
            "ok": True,
            "day": date(2013, 6, 1),
            "at": datetime(2013, 1, 1, 0, 0, 0, 250000, tzinfo=UTC),
            "local": datetime(2013, 7, 1, 16, tzinfo=UTC),
            "state": "on",
            "code": "EWR",
            "_tombstone": False,
        }
    ]


@pytest.mark.parametrize("decoder", [decode_columnar, decode_rowwise])
def test_a_local_time_that_exists_twice_is_the_first_and_counted(decoder: object) -> None:
    result = decoder(DATASET, Records.of([record(event(local="2013-11-03T01:30:00"))]), LIMIT)  # type: ignore[operator]
    assert result.table.column("local").to_pylist() == [datetime(2013, 11, 3, 5, 30, tzinfo=UTC)]
    assert result.ambiguous == 1


@pytest.mark.parametrize(
    ("key", "reason"),
    [(b"a", None), (None, "tombstone_without_key"), (b"\xff", "tombstone_without_key"), (b"", "tombstone_without_key")],
)
def test_a_tombstone_deletes_by_its_key(key: bytes | None, reason: str | None) -> None:
    result = decode(DATASET, Records.of([record(None, key)]), LIMIT)
    assert [r.reason for r in result.rejections] == ([reason] if reason else [])
    assert result.table.column("id").to_pylist() == ([] if reason else ["a"])
    assert result.table.column("_tombstone").to_pylist() == ([] if reason else [True])


def test_a_composite_key_is_read_from_a_json_key() -> None:
    dataset = Dataset("legs", "1.0.0", Kind.UPSERT, COLUMNS, ("id", "pax"), topic="legs")
    key = '{"id": "a", "número de pax": 7}'.encode()
    row = decode(dataset, Records.of([record(None, key)]), LIMIT).table.to_pylist()[0]
    assert (row["id"], row["pax"]) == ("a", 7)


def test_rows_of_an_append_dataset_are_never_deleted() -> None:
    dataset = Dataset("facts", "1.0.0", Kind.APPEND, COLUMNS, (), topic="facts")
    assert [r.reason for r in decode(dataset, Records.of([record(None)]), LIMIT).rejections] == ["empty_value"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=14)
TIMES = st.sampled_from(
    [
        "2013-01-01T00:00:00Z",
        "2013-01-01 00:00:00.123456+05:30",
        "2013-01-01T00:00Z",
        "2013-01-01T00:00:00",
        "2013-11-03T01:30:00",
        "2013-03-10T02:30:00",
        "2013-01-01T00:00:00.123456789Z",
        "2013-01-01T24:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "9999-12-31T23:59:59",
        "2050-07-01T00:00:00",
        "2013-01-01T00:00:00+0100",
        "2013-01-01",
        "",
    ]
)
DAYS = st.sampled_from(["2013-01-01", "2013-02-29", "2013-1-1", "0000-01-01", "9999-12-31", "1999-01-01", "x"])
NUMBERS = st.one_of(
    st.integers(-40_000, 40_000),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([5.0, -0.0, 1e300, 2**63, -(2**63), 2**53 + 1]),
)
ANYTHING = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, TIMES, DAYS, st.lists(st.integers(), max_size=2))
EVENT = st.fixed_dictionaries(
    {"id": st.one_of(TEXT, ANYTHING), "at": st.one_of(TIMES, ANYTHING)},
    optional={
        "número de pax": st.one_of(NUMBERS, ANYTHING),
        "fuel": st.one_of(NUMBERS, ANYTHING),
        "ok": ANYTHING,
        "day": st.one_of(DAYS, ANYTHING),
        "local": st.one_of(TIMES, ANYTHING),
        "state": st.one_of(st.sampled_from(["on", "off", "ON"]), ANYTHING),
        "code": st.one_of(st.sampled_from(["EWR", "ewr", "EWRX", "EWR\n"]), ANYTHING),
        "unknown": ANYTHING,
    },
)
PLAIN = st.builds(lambda i: event(id=str(i)), st.integers(0, 9999))
MANGLED = st.builds(
    lambda value, at, junk: value[: at % (len(value) + 1)] + junk + value[at % (len(value) + 1) :],
    PLAIN,
    st.integers(0, 80),
    st.sampled_from(
        [b"", b"\n", b"{", b"}", b"\x00", b"\xff", b",", b"NaN", b"\\ud800", b"\\u0000", b'"', b"}\n{", b" "]
    ),
)
VALUE = st.one_of(
    PLAIN,
    PLAIN,
    MANGLED,
    EVENT.map(lambda e: json.dumps(e, ensure_ascii=False).encode(errors="surrogatepass")),
    EVENT.map(lambda e: json.dumps(e).encode()),
    st.just(b'{"id":"a","id":"b","at":"2013-01-01T00:00:00Z"}'),
    st.just(b"null"),
    st.binary(max_size=8),
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(VALUE, min_size=1, max_size=5))
def test_what_the_columnar_path_takes_the_rowwise_path_takes_alike(values: list[bytes]) -> None:
    records = Records.of(record(value, offset=offset) for offset, value in enumerate(values))
    try:
        fast = decode_columnar(DATASET, records, LIMIT)
    except NotColumnarError:
        return
    slow = decode_rowwise(DATASET, records, LIMIT)
    assert slow.rejections == []
    assert fast.ambiguous == slow.ambiguous
    # repr tells -0.0 from 0.0
    assert repr(fast.table.to_pylist()) == repr(slow.table.to_pylist())


def test_a_large_batch_with_a_few_bad_records_is_split_and_loses_nothing() -> None:
    rng = random.Random(37)
    values = [event(id=str(i)) for i in range(5_000)]
    for place in rng.sample(range(5_000), 37):
        values[place] = rng.choice(BAD)[0]
    records = Records.of(record(value, offset=offset) for offset, value in enumerate(values))
    split, whole = decode(DATASET, records, LIMIT), decode_rowwise(DATASET, records, LIMIT)
    assert split.rejections == whole.rejections
    assert len(split.rejections) == 37
    assert split.table.to_pylist() == whole.table.to_pylist()
    assert split.index.tolist() == whole.index.tolist()


def test_bad_records_are_told_apart_without_reading_their_neighbours_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [event(id=str(i), unknown=i) for i in range(2_000)]
    places = list(range(7, 2_000, 50))
    for number, place in enumerate(places):
        values[place] = BAD[number % len(BAD)][0]
    alone: list[int] = []

    def counted(dataset: Dataset, records: Records, limit: int) -> Decoded:
        alone.append(len(records))
        return decode_rowwise(dataset, records, limit)

    monkeypatch.setattr("pista.ingest.decode.decode_rowwise", counted)
    result = decode(DATASET, Records.of(record(value) for value in values), LIMIT)
    assert [rejection.index for rejection in result.rejections] == places
    assert sum(alone) == len(places)


def test_a_plain_batch_takes_the_columnar_path() -> None:
    records = Records.of(record(event(id=str(i))) for i in range(100))
    assert decode_columnar(DATASET, records, LIMIT).table.num_rows == 100
