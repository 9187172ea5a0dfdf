"""Lines of a file as Kafka messages."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from pista.commands.producing import LineError, read_csv, read_ndjson, refusal
from pista.contracts.dataset import Column, Dataset, Framing, Kind, LogicalType, Origin

COLUMNS = (
    Column("flight", "Número de vuelo", LogicalType.INTEGER, "bigint"),
    Column("day", "day", LogicalType.DATE, "date"),
    Column("late", "late", LogicalType.BOOLEAN, "boolean"),
    Column("delay", "delay", LogicalType.NUMBER, "double precision"),
)
Messages = list[tuple[bytes | None, bytes]]


def dataset(*key: str) -> Dataset:
    return Dataset("legs", "1.0.0", Kind.UPSERT if key else Kind.APPEND, COLUMNS, key)


def test_ndjson_goes_out_as_it_stands() -> None:
    lines = ['{"Número de vuelo": 12,  "day":"2024-01-01"}\n', "\n", ' {"Número de vuelo":13, "x": [1]}\n']
    assert list(read_ndjson(lines, dataset("flight"))) == [
        (b"12", lines[0].strip().encode()),
        (b"13", lines[2].strip().encode()),
    ]


def test_keys() -> None:
    line = ['{"Número de vuelo": 12, "day": "2024-01-01"}']
    assert [key for key, _ in read_ndjson(line, dataset())] == [None]
    assert [key for key, _ in read_ndjson(line, dataset("day"))] == [b"2024-01-01"]
    ((key, _),) = read_ndjson(line, dataset("flight", "day"))
    assert key is not None
    assert json.loads(key) == {"Número de vuelo": 12, "day": "2024-01-01"}


def test_csv_cells_have_the_types_of_their_columns() -> None:
    lines = ["Número de vuelo,day,late,delay,note\n", '12,2024-01-01,TRUE,-1.5,"a,b"\n', "13,,,,\n"]
    messages = list(read_csv(lines, dataset("flight")))
    assert [key for key, _ in messages] == [b"12", b"13"]
    assert [json.loads(value) for _, value in messages] == [
        {"Número de vuelo": 12, "day": "2024-01-01", "late": True, "delay": -1.5, "note": "a,b"},
        {"Número de vuelo": 13, "day": None, "late": None, "delay": None, "note": None},
    ]


@pytest.mark.parametrize(
    ("read", "lines", "message"),
    [
        (read_ndjson, ['{"Número de vuelo": 1}', "{"], "line 2 is no JSON: "),
        (read_ndjson, ["[1]"], "line 1 is no JSON object with fields, but '[1]'"),
        (read_ndjson, ['{"day": 1}'], "line 1 lacks the field 'Número de vuelo', the key of legs; it has ['day']"),
        (read_csv, ["day\n", "x\n"], "line 2 lacks the field 'Número de vuelo'"),
        (read_csv, ["Número de vuelo\n", "x\n"], "line 2: 'x' is no integer, as Número de vuelo must be"),
        (read_csv, ["Número de vuelo,late\n", "1,perhaps\n"], "line 2: 'perhaps' is no boolean, as late must be"),
        (read_csv, ["Número de vuelo,day\n", "1\n"], "line 2 has not as many cells as the header has names"),
        (read_csv, ["Número de vuelo\n", "1,2\n"], "line 2 has not as many cells as the header has names"),
        (read_csv, ["Número de vuelo\n", '"1\n'], "is no CSV: "),
    ],
)
def test_lines_that_cannot_go_out(
    read: Callable[[Iterable[str], Dataset], Iterable[object]], lines: list[str], message: str
) -> None:
    with pytest.raises(LineError) as caught:
        list(read(lines, dataset("flight")))
    assert message in str(caught.value)


def test_keys_within_objects() -> None:
    leg = Column("leg", "flight.leg", LogicalType.STRING, "text", path=("flight", "leg"))
    nested = replace(dataset("leg"), columns=(leg, *COLUMNS))
    assert [key for key, _ in read_ndjson(['{"flight": {"leg": "AV1"}}'], nested)] == [b"AV1"]
    ((key, _),) = read_ndjson(['{"flight": {"leg": "AV1"}, "day": "x"}'], replace(nested, key=("leg", "day")))
    assert json.loads(key or b"") == {"leg": "AV1", "day": "x"}
    with pytest.raises(LineError, match=r"line 1 lacks the field 'flight\.leg'"):
        list(read_ndjson(['{"flight": null}'], nested))
    with pytest.raises(LineError, match=r"line 1: on the way to 'flight\.leg', 3 has no 'leg'"):
        list(read_ndjson(['{"flight": 3}'], nested))
    assert refusal(nested, is_csv=False) is None
    assert refusal(nested, is_csv=True) == "CSV has no place for flight.leg within an object; write NDJSON"


def test_messages_that_no_line_can_be() -> None:
    assert refusal(dataset("flight"), is_csv=True) is None
    framed = replace(dataset("flight"), topic="legs", framing=Framing.GLUE)
    assert refusal(framed, is_csv=False) == (
        "the messages of legs are json in the framing glue; plain JSON among them would be quarantined"
    )
    changes = replace(dataset("flight"), topic="legs", debezium=True)
    assert "the messages of legs are change events of Debezium" in str(refusal(changes, is_csv=False))
    trace = Column("trace", "header.trace", LogicalType.STRING, "text", origin=Origin.HEADER, required=True)
    traced = replace(dataset(), columns=(trace, *COLUMNS))
    assert refusal(traced, is_csv=False) == "a file holds values alone, and legs needs header.trace beside them"
