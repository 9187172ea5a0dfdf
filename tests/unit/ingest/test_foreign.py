"""Topics that nobody here controls: values by path, other forms of values, filters, change events."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pista.contracts.dataset import Coercion, Column, Dataset, Filter, Kind, LogicalType, Origin
from pista.ingest.arrow import Decoded
from pista.ingest.columnar import decode_columnar
from pista.ingest.decode import decode
from pista.ingest.gate import NotColumnarError
from pista.ingest.rowwise import decode_rowwise
from pista.kafka.records import Record, Records

LIMIT = 4096
HEADER, KEY, RECORD = Origin.HEADER, Origin.KEY, Origin.RECORD
STRING, INTEGER, NUMBER, BOOLEAN = LogicalType.STRING, LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.BOOLEAN
TIMESTAMP, DATE, OBJECT, ARRAY = LogicalType.TIMESTAMP, LogicalType.DATE, LogicalType.OBJECT, LogicalType.ARRAY


def column(name: str, kind: LogicalType, sql: str = "text", **more: Any) -> Column:
    return Column(name, more.pop("source", name), kind, sql, **more)


COLUMNS = (
    column("id", STRING, required=True, source="flight.id", path=("flight", "id")),
    column("carrier", STRING, source="flight.carrier.code", path=("flight", "carrier", "code"), max_length=3),
    column("first_leg", STRING, source="legs[0].to", path=("legs", 0, "to")),
    column("legs", ARRAY, "jsonb"),
    column("flight", OBJECT, "jsonb"),
    column("key", STRING, source="key", origin=KEY),
    column("shard", INTEGER, "integer", source="header.shard", origin=HEADER, path=("shard",), coercion=Coercion.TEXT),
    column("trace", STRING, source="header.trace", origin=HEADER, path=("trace",)),
    column("sent_at", TIMESTAMP, "timestamptz", source="record.timestamp", origin=RECORD, path=("timestamp",)),
    column("topic", STRING, source="record.topic", origin=RECORD, path=("topic",)),
    column("part", INTEGER, "integer", source="record.partition", origin=RECORD, path=("partition",)),
    column("place", INTEGER, "bigint", source="record.offset", origin=RECORD, path=("offset",)),
    column("pax", INTEGER, "smallint", coercion=Coercion.TEXT, minimum=0),
    column("fuel", NUMBER, "double precision", coercion=Coercion.TEXT),
    column("ok", BOOLEAN, "boolean", coercion=Coercion.TEXT),
    column("s", TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_S),
    column("ms", TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_MS, minimum="1960-01-01T00:00:00Z"),
    column("us", TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_US),
    column("ns", TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_NS),
    column("days", DATE, "date", coercion=Coercion.EPOCH_DAYS),
    column("day", DATE, "date", time_format="%d/%m/%Y"),
    column("local", TIMESTAMP, "timestamptz", time_format="%d.%m.%Y %H:%M", zone="America/New_York"),
    column("at", TIMESTAMP, "timestamptz", time_format="%Y%m%d %H%M%S %z"),
)
DATASET = Dataset(
    "legs",
    "1.0.0",
    Kind.UPSERT,
    COLUMNS,
    ("id",),
    topic="foreign.legs",
    where=(
        Filter("type", Origin.VALUE, (), ("flight", "leg", None)),
        Filter("header.kind", HEADER, ("kind",), (None, "a")),
    ),
)
GOOD: dict[str, Any] = {"type": "flight", "flight": {"id": "a", "carrier": {"code": "UA"}}}
TRACED = (("trace", b"one"), ("trace", b"two"), ("shard", b"7"))


def record(value: Any, key: bytes | None = b"k", headers: Any = (), offset: int = 0, timestamp: int = 5) -> Record:
    text = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Record(1, offset, timestamp, key, text, headers)


def rows(dataset: Dataset, *records: Record) -> list[dict[str, Any]]:
    return decode(dataset, Records.of(records), LIMIT).table.to_pylist()


def assert_equal(fast: Decoded, slow: Decoded) -> None:
    assert fast.rejections == slow.rejections
    assert fast.filtered.tolist() == slow.filtered.tolist()
    assert fast.index.tolist() == slow.index.tolist()
    assert fast.ambiguous == slow.ambiguous
    # repr tells -0.0 from 0.0
    assert repr(fast.table.to_pylist()) == repr(slow.table.to_pylist())


def test_values_come_from_wherever_the_contract_says() -> None:
    value = GOOD | {"legs": [{"to": "EWR", "n": 1.0}, {}], "flight": {"id": "a", "carrier": {"code": "UA"}, "x": ["é"]}}
    found = rows(DATASET, record(value, headers=TRACED, offset=9, timestamp=1_700_000_000_123))[0]
    assert (
        found
        | {
            "id": "a",
            "carrier": "UA",
            "first_leg": "EWR",
            "legs": '[{"to":"EWR","n":1.0},{}]',
            "flight": '{"id":"a","carrier":{"code":"UA"},"x":["é"]}',
            "key": "k",
            "shard": 7,
            "trace": "two",
            "sent_at": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
            "topic": "foreign.legs",
            "part": 1,
            "place": 9,
        }
        == found
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("pax", "12", 12),
        ("pax", 12, 12),
        ("pax", "", None),
        ("fuel", "-1.5e3", -1500.0),
        ("ok", "false", False),
        ("s", 1.5, datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
        ("s", "-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("ms", 1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)),
        ("us", -1, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("ns", -1, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("days", -1, date(1969, 12, 31)),
        ("day", "31/01/2013", date(2013, 1, 31)),
        ("local", "01.07.2013 12:00", datetime(2013, 7, 1, 16, tzinfo=UTC)),
        ("at", "20130101 120000 +0130", datetime(2013, 1, 1, 10, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("decoder", [decode, decode_rowwise])
def test_another_form_of_a_value_is_read_as_what_it_means(field: str, value: Any, expected: Any, decoder: Any) -> None:
    result = decoder(DATASET, Records.of([record(GOOD | {field: value})]), LIMIT)
    assert result.rejections == []
    assert result.table.to_pylist()[0][field] == expected


@pytest.mark.parametrize(
    ("value", "key", "reason", "name"),
    [
        (GOOD | {"pax": "twelve"}, b"k", "wrong_type", "pax"),
        (GOOD | {"pax": "0x1"}, b"k", "wrong_type", "pax"),
        (GOOD | {"ok": "True"}, b"k", "wrong_type", "ok"),
        (GOOD | {"s": True}, b"k", "wrong_type", "s"),
        (GOOD | {"s": 1e15}, b"k", "out_of_range", "s"),
        (GOOD | {"days": "1.5"}, b"k", "wrong_type", "days"),
        (GOOD | {"ms": -1_000_000_000_000}, b"k", "out_of_range", "ms"),
        (GOOD | {"day": "2013-01-31"}, b"k", "wrong_type", "day"),
        (GOOD | {"local": "10.03.2013 02:30"}, b"k", "nonexistent_time", "local"),
        (GOOD | {"legs": {}}, b"k", "wrong_type", "first_leg"),
        (GOOD | {"legs": [{"to": None, "\0": 1}]}, b"k", "null_byte", "legs"),
        ({"type": "leg", "flight": "a"}, b"k", "wrong_type", "id"),
        ({"type": "leg", "flight": {"carrier": {}}}, b"k", "missing_field", "id"),
        (GOOD, b"\xff", "not_utf8", "key"),
        (b'{"type": "flight"', b"k", "not_json", None),
        (None, b"\xff", "tombstone_without_key", None),
    ],
)
def test_what_is_wrong_is_said_with_its_place(value: Any, key: bytes, reason: str, name: str | None) -> None:
    result = decode(DATASET, Records.of([record(GOOD), record(value, key), record(GOOD)]), LIMIT)
    assert [(r.index, r.reason, r.column) for r in result.rejections] == [(1, reason, name)]


def test_records_of_others_are_left_out_and_counted() -> None:
    result = decode(
        DATASET,
        Records.of(
            [
                record(GOOD),
                record({"type": "crew", "flight": 5}),
                record({"flight": {"id": "b"}}),
                record(b"not even JSON", headers=(("kind", b"b"),)),
                record(GOOD, headers=(("kind", b"b"), ("kind", b"a"))),
                record(None, headers=(("kind", b"b"),)),
                record({"type": True}),
            ]
        ),
        LIMIT,
    )
    assert result.filtered.tolist() == [1, 3, 5, 6]
    assert result.index.tolist() == [0, 2, 4]
    assert result.rejections == []


def test_a_plain_batch_of_a_mixed_topic_takes_the_columnar_path() -> None:
    values = [GOOD | {"pax": "7", "day": "31/01/2013", "ms": 5, "n": i} for i in range(50)] + [{"type": "crew"}] * 50
    found = decode_columnar(DATASET, Records.of(record(value, headers=TRACED) for value in values), LIMIT)
    assert found.filtered.tolist() == list(range(50, 100))


def test_a_key_within_the_value_is_found_in_the_kafka_key_of_a_deletion() -> None:
    dataset = replace(DATASET, where=())
    for key in (b"a", b'{"id": "a"}', b'{"flight": {"id": "a"}}'):
        found = rows(dataset, record(None, key))[0]
        assert (found["id"], found["_tombstone"]) == ("a", True)


CDC_COLUMNS = (
    column("id", INTEGER, "bigint", required=True),
    column("city", STRING, source="address.city", path=("address", "city")),
    column("ref", STRING, source="key.ref", origin=KEY, path=("ref",)),
    column("seen", TIMESTAMP, "timestamptz", coercion=Coercion.EPOCH_US),
    column("more", OBJECT, "jsonb"),
)
CDC = Dataset("rows", "1.0.0", Kind.UPSERT, CDC_COLUMNS, ("id",), topic="db.rows", debezium=True)


def change(op: str, after: Any = None, before: Any = None, *, wrapped: bool = False) -> dict[str, Any]:
    event = {"before": before, "after": after, "source": {"table": "rows"}, "op": op, "ts_ms": 1}
    return {"schema": {"type": "struct"}, "payload": event} if wrapped else event


@pytest.mark.parametrize("wrapped", [False, True])
def test_change_events_become_rows_and_deletions(wrapped: bool) -> None:
    row = {"id": 1, "address": {"city": "Cali"}, "seen": 5, "more": {}}
    key = b'{"schema": {}, "payload": {"id": 2, "ref": "r"}}' if wrapped else b'{"id": 2, "ref": "r"}'
    result = decode(
        CDC,
        Records.of(
            [
                record(change("r", row, wrapped=wrapped), key),
                record(change("d", None, {"id": 7}, wrapped=wrapped), key),
                record(change("d", wrapped=wrapped), key),
                record(None, key),
                record(change("m", wrapped=wrapped), key),
                record({"status": "BEGIN", "id": "5"}, None),
                record(change("t", wrapped=wrapped), None),
                record({"id": 5}, None),
                record(change("u", None, row, wrapped=wrapped), key),
            ]
        ),
        LIMIT,
    )
    assert result.table.select(["id", "city", "ref", "_tombstone"]).to_pylist() == [
        {"id": 1, "city": "Cali", "ref": "r", "_tombstone": False},
        {"id": 7, "city": None, "ref": None, "_tombstone": True},
        {"id": 2, "city": None, "ref": None, "_tombstone": True},
        {"id": 2, "city": None, "ref": None, "_tombstone": True},
    ]
    assert result.filtered.tolist() == [4, 5]
    assert [(r.index, r.reason) for r in result.rejections] == [(place, "unknown_change") for place in (6, 7, 8)]


def test_changes_with_deletions_between_them_take_the_columnar_path() -> None:
    values = [change("d", None, {"id": i}) if i % 3 == 0 else change("u", {"id": i}) for i in range(30)]
    found = decode_columnar(CDC, Records.of(record(value, b"{}") for value in values), LIMIT)
    assert found.table.column("id").to_pylist() == list(range(30))


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), TEXT)
ANYTHING = st.one_of(SCALAR, st.lists(SCALAR, max_size=2), st.dictionaries(TEXT, SCALAR, max_size=2))
EPOCHS = st.one_of(
    st.integers(-(10**9), 10**19),
    st.integers(-(2**63), 2**64),
    st.sampled_from([0, 1.5, -0.5, -1, "12", "-12", "1.5", "", 1e300, -62_135_596_800, 253_402_300_800, 2_932_897]),
)
TEXTS_OF_NUMBERS = st.sampled_from(
    ["12", "-3", "0", "-0", "-0.0", "007", "1.5", "1e3", "5.0", "", " 1", "true", "٣", "NaN", "1e999", "+1"]
)
DATES = st.sampled_from(["31/01/2013", "1/2/2013", "31/02/2013", "", "01/01/0001", "2013-01-31"])
LOCALS = st.sampled_from(
    ["01.07.2013 12:00", "03.11.2013 01:30", "10.03.2013 02:30", "1.1.2050 00:00", "31.12.9999 23:59"]
)
ATS = st.sampled_from(["20130101 120000 +0130", "20130101 120000 Z", "00010101 000000 +0900", "20130101 120000"])
VALUE = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["flight", "flight", "leg", "crew"]),
        "flight": st.fixed_dictionaries(
            {"id": TEXT},
            optional={
                "carrier": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"code": st.one_of(TEXT, SCALAR)}))
            },
        ),
    },
    optional={
        "legs": st.one_of(
            st.lists(st.fixed_dictionaries({}, optional={"to": TEXT, "x": ANYTHING}), max_size=2), ANYTHING
        ),
        "pax": st.one_of(TEXTS_OF_NUMBERS, ANYTHING),
        "fuel": st.one_of(TEXTS_OF_NUMBERS, ANYTHING),
        "ok": st.one_of(st.sampled_from(["true", "false", "True", ""]), ANYTHING),
        **dict.fromkeys(["s", "ms", "us", "ns", "days"], EPOCHS),
        "day": st.one_of(DATES, ANYTHING),
        "local": st.one_of(LOCALS, ANYTHING),
        "at": st.one_of(ATS, ANYTHING),
        "other": ANYTHING,
    },
)
STRANGE = st.one_of(VALUE, st.fixed_dictionaries({}, optional={"type": ANYTHING, "flight": ANYTHING, "legs": ANYTHING}))
BYTES = st.one_of(st.none(), st.sampled_from([b"", b"k", b"\xff", b"\x00", "é".encode(), b"7", b"-0", b'{"id":"a"}']))
HEADERS = st.lists(st.tuples(st.sampled_from(["trace", "shard", "kind"]), BYTES), max_size=3).map(tuple)
RECORDS = st.builds(
    record,
    st.one_of(VALUE, VALUE, STRANGE, st.none(), st.just(b'{"type": NaN}'), st.just(b"{}")),
    BYTES,
    HEADERS,
    st.integers(0, 9),
    st.sampled_from([-1, 0, 1_700_000_000_123]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_both_paths_agree_on_foreign_records(found: list[Record]) -> None:
    records = Records.of(found)
    assert_equal(decode(DATASET, records, LIMIT), decode_rowwise(DATASET, records, LIMIT))


def one_field(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values.map(lambda value: GOOD | {name: value})


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        *[one_field(name, EPOCHS) for name in ("s", "ms", "us", "ns", "days")],
        *[one_field(name, TEXTS_OF_NUMBERS) for name in ("pax", "fuel", "ok")],
        one_field("day", DATES),
        one_field("local", LOCALS),
        one_field("at", ATS),
    ).flatmap(lambda value: st.tuples(st.just(value), st.just(GOOD)))
)
def test_both_paths_agree_on_each_form_of_a_value(values: tuple[Any, Any]) -> None:
    records = Records.of(record(value) for value in values)
    try:
        fast = decode_columnar(DATASET, records, LIMIT)
    except NotColumnarError:
        return
    assert_equal(fast, decode_rowwise(DATASET, records, LIMIT))


ROW = st.fixed_dictionaries(
    {"id": st.one_of(st.integers(0, 5), SCALAR)},
    optional={"address": st.one_of(st.fixed_dictionaries({"city": TEXT}), ANYTHING), "seen": EPOCHS, "more": ANYTHING},
)
CHANGE = st.builds(
    change,
    st.sampled_from(["c", "u", "r", "d", "t", "m", "x"]),
    st.one_of(ROW, ROW, st.none(), SCALAR),
    st.one_of(st.none(), ROW),
    wrapped=st.booleans(),
)
CDC_KEYS = st.sampled_from(
    [None, b"5", b'{"id":5}', b'{"schema":{},"payload":{"id":5,"ref":"x"}}', b'{"id":null}', b"x"]
)
CITY = Filter("address.city", Origin.VALUE, ("address", "city"), ("Cali", None))


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.builds(
            record, st.one_of(CHANGE, CHANGE, st.none(), VALUE, st.just({"schema": 1, "payload": None})), CDC_KEYS
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_both_paths_agree_on_change_events(found: list[Record], filtering: bool) -> None:
    dataset = replace(CDC, where=(CITY,)) if filtering else CDC
    records = Records.of(found)
    assert_equal(decode(dataset, records, LIMIT), decode_rowwise(dataset, records, LIMIT))


def mixed(size: int) -> list[Record]:
    """Records of others and of this dataset, some of them bad, in a batch that is worth taking apart."""
    found = []
    for place in range(size):
        value = GOOD | {"n": place, "pax": "many" if place % 17 == 0 else str(place)}
        found.append(record(value | ({"type": "crew"} if place % 3 == 0 else {}), offset=place))
    return found


def test_bad_records_among_those_of_others_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records.of(mixed(1_200))
    alone: list[int] = []

    def counted(dataset: Dataset, some: Records, limit: int) -> Decoded:
        alone.append(len(some))
        return decode_rowwise(dataset, some, limit)

    monkeypatch.setattr("pista.ingest.decode.decode_rowwise", counted)
    result = decode(DATASET, records, LIMIT)
    assert sum(alone) == len(result.rejections), "good records were read one by one"
    assert_equal(result, decode_rowwise(DATASET, records, LIMIT))
    assert [rejection.index for rejection in result.rejections] == [i for i in range(0, 1_200, 17) if i % 3]


def test_filters_apply_to_the_rows_of_changes_and_of_deletions() -> None:
    cities = ["Cali", "Bogotá", None]
    changes = [
        change("d", None, {"id": i, "address": {"city": city}})
        if i % 5 == 0
        else change("u", {"id": i, "address": {"city": city}})
        for i in range(30)
        for city in [cities[i % 3]]
    ]
    records = Records.of(record(value, b"{}") for value in changes)
    dataset = replace(CDC, where=(CITY,))
    fast = decode_columnar(dataset, records, LIMIT)
    assert_equal(fast, decode_rowwise(dataset, records, LIMIT))
    assert fast.filtered.tolist() == list(range(1, 30, 3))
