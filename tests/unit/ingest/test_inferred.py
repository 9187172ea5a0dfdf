"""An inferred contract takes every message that it was inferred from, but those that its comments announce."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pista.contracts.contract import read_contract
from pista.contracts.dataset import Coercion, Dataset
from pista.contracts.inference import InferenceError, infer_contract
from pista.contracts.sampled import parse_object
from pista.ingest.decode import Decoder
from pista.kafka.records import Record, Records
from pista.settings import Settings

Message = tuple[bytes | None, bytes | None]


def inferred(messages: list[Message]) -> tuple[Dataset, str]:
    text = infer_contract("trips", "co.trips", messages)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trips.yaml"
        path.write_text(text, encoding="utf-8")
        contract = read_contract(path)
    assert contract.dataset is not None, (text, [str(p) for p in contract.document.problems])
    return contract.dataset, text


def takes_all(messages: list[Message]) -> Dataset:
    """The inferred dataset, once it has decoded every message."""
    dataset, text = inferred(messages)
    records = [Record(0, offset, 1_700_000_000_000, key, value) for offset, (key, value) in enumerate(messages)]
    decoded = Decoder(dataset, Settings()).decode(Records.of(records))
    assert not decoded.rejections, (text, decoded.rejections, messages)
    assert len(decoded.index) == len(messages)
    return dataset


def as_bytes(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def test_a_feed_of_flights() -> None:
    def leg(number: int) -> dict[str, Any]:
        return {
            "messageId": f"9f8b-{number}",
            "sentAt": 1_764_038_400_000 + number,
            "flight": {
                "carrier": "AV",
                "number": f"{number:04d}",
                "date": f"{number % 28 + 1:02d}NOV26",
                "legs": [{"from": "BOG", "to": "MDE", "gate": None}],
                "delay": {"minutes": str(number), "reason": None if number % 2 else "WX"},
            },
            "status": ("ON", "OFF", "OUT")[number % 3],
            "local": f"2026-11-{number % 28 + 1:02d} 10:05:00",
            "price": f"{number}.50" if number % 3 else "",
        }

    messages: list[Message] = [(as_bytes({"id": f"9f8b-{n}", "carrier": "AV"}), as_bytes(leg(n))) for n in range(300)]
    dataset = takes_all([*messages, (as_bytes({"id": "x", "carrier": "LA"}), None)])
    assert dataset.key == ("id", "flight_carrier")
    found = {c.name: (c.logical_type.value, c.coercion and c.coercion.value, c.time_format) for c in dataset.columns}
    assert found == {
        "id": ("string", None, None),
        "message_id": ("string", None, None),
        "sent_at": ("timestamp", "epoch_ms", None),
        "flight_carrier": ("string", None, None),
        "flight_number": ("string", None, None),
        "flight_date": ("date", None, "%d%b%y"),
        "flight_legs": ("array", None, None),
        "flight_delay_minutes": ("integer", "text", None),
        "flight_delay_reason": ("string", None, None),
        "status": ("string", None, None),
        "local": ("timestamp", None, None),
        "price": ("number", "text", None),
    }
    assert dataset.column("status").enum == ("OFF", "ON", "OUT")


def test_changes_of_a_table() -> None:
    def change(number: int) -> bytes:
        row = {
            "id": number,
            "born_on": number - 5_000,
            "seen": number,
            "amount": "12.30",
            "updated_at": 1_764_038_400_000_000 + number,
        }
        event = {"op": "c", "before": None, "after": row, "source": {"lsn": number}, "ts_ms": 1_764_038_400_000}
        return as_bytes({"schema": schema, "payload": event})

    after = [
        {"type": "int32", "field": "id"},
        {"type": "int32", "field": "born_on", "name": "io.debezium.time.Date"},
        {"type": "int64", "field": "seen", "name": "io.debezium.time.MicroTimestamp"},
    ]
    schema = {"type": "struct", "fields": [{"type": "struct", "field": "after", "name": "db.Value", "fields": after}]}

    def key(number: int) -> bytes:
        return as_bytes({"schema": {"type": "struct"}, "payload": {"id": number}})

    deletion = as_bytes({"schema": {}, "payload": {"op": "d", "before": {"id": 1}, "after": None, "source": {}}})
    messages: list[Message] = [(key(n), change(n)) for n in range(3)]
    dataset = takes_all([*messages, (key(1), deletion), (key(1), None)])
    assert (dataset.debezium, dataset.key) == (True, ("id",))
    assert [(c.name, c.coercion) for c in dataset.columns] == [
        ("id", None),
        ("born_on", Coercion.EPOCH_DAYS),
        ("seen", Coercion.EPOCH_US),
        ("amount", Coercion.TEXT),
        ("updated_at", Coercion.EPOCH_US),
    ]


texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "true", "false", "007", "12", "-1.5", "1e400", "BOG", "a@b.co", "NO", "null"]),
)
dates = st.dates()
moments = st.datetimes()
forms = st.sampled_from(
    ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d%b%y", "%Y%m%d", "%B %d, %Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f",
     "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S-0500", "%d/%m/%Y %H:%M", "%d.%m.%Y %I:%M:%S %p", "%d-%b-%Y %H:%M %z",
     "%Y%m%d%H%M%S"]
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 64), 1 << 64),
    st.integers(946_684_800, 4_102_444_800).flatmap(lambda n: st.sampled_from([n, n * 1000, n * 10**6, n * 10**9])),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def columns(draw: Any, rows: int) -> list[Any]:
    """Values of one field in every row; mostly of one kind, as producers write them."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return [draw(nested) for _ in range(rows)]
    if kind == 1:
        form = draw(forms)
        found = [draw(moments).replace(year=draw(st.integers(1900, 2100)), day=1) for _ in range(rows)]
        return [moment.strftime(form) for moment in found]
    if kind == 2:
        unit = draw(st.sampled_from([1, 10**3, 10**6, 10**9]))
        return [draw(st.integers(946_684_800, 4_102_444_799)) * unit for _ in range(rows)]
    if kind == 3:
        fields = {name: draw(columns(rows)) for name in draw(st.sets(st.text(max_size=4), max_size=3))}
        return [{name: values[row] for name, values in fields.items()} for row in range(rows)]
    one = draw(st.sampled_from([st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(-1e9, 1e9), texts]))
    some = st.none() if draw(st.booleans()) else one
    return [draw(st.one_of(one, some)) for _ in range(rows)]


@st.composite
def samples(draw: Any) -> list[Message]:
    count = draw(st.integers(1, 4))
    names = draw(
        st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["createdAt", "id", "key", "order"])), max_size=4)
    )
    fields = {name: draw(columns(count)) for name in names}
    fields["id"] = [draw(st.one_of(st.integers(0, 3), st.integers(0, 3))) for _ in range(count)]
    rows = [{name: values[row] for name, values in fields.items()} for row in range(count)]
    keyed = draw(st.sampled_from(["none", "text", "json", "other", "composite"]))
    messages: list[Message] = []
    for row in rows:
        keys = {
            "none": None,
            "text": str(row["id"]).encode(),
            "json": as_bytes({"id": row["id"]}),
            "other": as_bytes({"ref": str(row["id"])}),
            "composite": as_bytes({"id": row["id"], "day": "2026-11-25"}),
        }
        messages.append((keys[keyed], as_bytes(row)))
        if keyed != "none" and draw(st.booleans()):
            messages.append((keys[keyed], None))
    if draw(st.booleans()):
        sparse = [name for name in rows[-1] if draw(st.booleans())]
        messages.append(
            (messages[-1][0], as_bytes({name: rows[-1][name] for name in sparse if name != "id"} | {"id": 0}))
        )
        messages[-1] = (str(0).encode() if keyed == "text" else messages[-1][0], messages[-1][1])
    return messages


@settings(deadline=None, max_examples=60)
@given(samples())
def test_every_sampled_message_loads(messages: list[Message]) -> None:
    readable = [(key, value) for key, value in messages if value is None or parse_object(value) is not None]
    try:
        takes_all(readable)
    except InferenceError:
        assert all(value is None or b"id" not in value for _, value in readable)


announced = re.compile(r"# CHECK: (\d+) of the \d+ sampled rows will go to quarantine")


@st.composite
def broken_samples(draw: Any) -> list[Message]:
    """Forty messages of a producer, of which one or two are broken in one way or another."""
    fields: dict[str, list[Any]] = {name: draw(columns(40)) for name in draw(st.sets(st.sampled_from("abcd")))}
    fields["id"] = list(range(40)) if draw(st.booleans()) else [f"x{n}" for n in range(40)]
    rows = [{name: values[row] for name, values in fields.items()} for row in range(40)]
    keyed = draw(st.booleans())
    messages: list[Message] = [(str(row["id"]).encode() if keyed else None, as_bytes(row)) for row in rows]
    for row in draw(st.lists(st.integers(0, 39), min_size=1, max_size=2)):
        name = draw(st.sampled_from(sorted(fields)))
        lacking = {other: value for other, value in rows[row].items() if other != name}
        damaged = draw(st.sampled_from([lacking, {}, {"other": 1}, rows[row] | {name: draw(nested)}]))
        messages[row] = (draw(st.sampled_from([messages[row][0], b"other"])), as_bytes(damaged))
    return messages


@settings(deadline=None, max_examples=40)
@given(broken_samples())
def test_only_the_announced_messages_go_to_quarantine(messages: list[Message]) -> None:
    readable = [(key, value) for key, value in messages if value is not None and parse_object(value) is not None]
    dataset, text = inferred(readable)
    records = [Record(0, offset, 1_700_000_000_000, key, value) for offset, (key, value) in enumerate(readable)]
    decoded = Decoder(dataset, Settings()).decode(Records.of(records))
    said = announced.search(text)
    assert len({r.index for r in decoded.rejections}) == (int(said.group(1)) if said else 0), (text, decoded.rejections)
