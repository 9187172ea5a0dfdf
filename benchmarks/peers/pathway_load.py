"""Pathway loads a topic into a snapshot table. Runs in an environment of its own."""

import json
import os
import sys

import pathway as pw

FORM = "%Y-%m-%dT%H:%M:%SZ"
MOMENTS = ("scheduled_departure", "scheduled_arrival", "departure", "arrival", "event_time")


class Flight(pw.Schema):
    """The columns of the contract; there is no type for a day."""

    flight_id: str
    flight_date: str
    carrier: str
    flight_number: int
    tailnum: str | None
    origin: str
    dest: str
    status: str
    scheduled_departure: str
    scheduled_arrival: str | None
    departure: str | None
    arrival: str | None
    departure_delay: int | None
    arrival_delay: int | None
    air_time: int | None
    distance: int
    event_time: str


def main() -> None:
    """One load."""
    bootstrap, topic = sys.argv[1:]
    settings = {"bootstrap.servers": bootstrap, "group.id": "pathway", "auto.offset.reset": "earliest"}
    events = pw.io.kafka.read(settings, topic, schema=Flight, format="json", mode="static")
    moments = {
        name: pw.require(pw.unwrap(events[name]).dt.strptime(FORM).dt.to_utc("UTC"), events[name]) for name in MOMENTS
    }
    events = events.with_columns(**moments)
    pw.io.postgres.write(
        events,
        json.loads(os.environ["BENCH_POSTGRES"]),
        "flights",
        output_table_type="snapshot",
        primary_key=[events.flight_id],
        sort_by=[events.event_time],
    )
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()
