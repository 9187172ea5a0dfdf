"""Milliseconds from an event's production until the API serves it, at several rates, across hand-overs of drain runs.

Starts a stack of its own on loopback, in a folder that it removes: PostgreSQL, Kafka, Dagster with its daemon, the API.
Events are numbered and go to a topic of one partition, so the greatest number that the API shows says which are
visible. It is asked for one row every 20 ms; an event's latency ends when the answer arrives, so the figures are too
long by 10 ms in the mean and by what an answer takes, which is printed. Both clocks are this process's.

A drain run lives for --run-seconds here, so that every span has hand-overs in it; "near" are the events that became
visible within two seconds of one. CPU is that of all drain runs with the code server they belong to, and that of
PostgreSQL, which serves Dagster and the API too. Example::

    python benchmarks/latency.py --rates 50 500 5000 --seconds 60
"""

import argparse
import bisect
import contextlib
import http.client
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import psycopg
from confluent_kafka import Producer

from pista.contracts.loading import load_datasets
from pista.local import postgres
from pista.local.stack import Stack
from pista.settings import Settings

POLL_SECONDS = 0.02
NEAR_SECONDS = 2.0
SETTLE_SECONDS = 20.0  # before the first span: the drain run starts and warms
CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: latency-probe
name: latency_probe
version: 1.0.0
status: active
servers: [{server: kafka, type: kafka, host: localhost:9092, format: json}]
customProperties:
  - {property: managed, value: true}
  - {property: partitions, value: 1}
schema:
  - name: latency_probe
    physicalName: benchmark.latency
    properties:
      - {name: seq, logicalType: integer, required: true, primaryKey: true, logicalTypeOptions: {format: i64}}
      - {name: carrier, logicalType: string}
      - {name: origin, logicalType: string}
      - {name: delay, logicalType: integer}
      - {name: produced_at, logicalType: timestamp}
"""


@contextlib.contextmanager
def running_stack(run_seconds: float) -> Iterator[Stack]:
    """A stack with one dataset; everything of it is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="pista-latency-")).resolve()
    (home / "datasets").mkdir()
    (home / "datasets" / "latency_probe.yaml").write_text(CONTRACT, encoding="utf-8")
    os.environ["PISTA_DRAIN_MAX_SECONDS"] = str(run_seconds)
    settings = Settings(home=home, datasets_dir=home / "datasets")
    stack = Stack(settings, load_datasets(settings.datasets_dir))
    try:
        stack.start()
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(postgres.locate(home).root, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


class Watcher(threading.Thread):
    """Asks the API again and again for the greatest number that it serves."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        self._headers = {"X-API-Key": key}
        self.stop = threading.Event()
        self.seen: list[tuple[int, float]] = []  # greatest number, and when the answer came
        self.took: list[float] = []  # seconds of each answer

    def run(self) -> None:
        """Until it is told to stop."""
        while not self.stop.is_set():
            began = time.time()
            self._connection.request(
                "GET", "/v1/latency_probe?select=seq&order=seq.desc&limit=1", headers=self._headers
            )
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the API answered {answer.status}: {body[:200]!r}")
            now = time.time()
            self.took.append(now - began)
            for row in json.loads(body):
                if not self.seen or row["seq"] > self.seen[-1][0]:
                    self.seen.append((row["seq"], now))
            time.sleep(max(0.0, POLL_SECONDS - (now - began)))


class Meter(threading.Thread):
    """CPU seconds of the process trees below some processes, those that end meanwhile included."""

    def __init__(self, roots: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._roots = roots
        self._used: dict[str, dict[int, float]] = {name: {} for name in roots}
        self.largest = dict.fromkeys(roots, 0.0)  # MiB resident of a single process

    def run(self) -> None:
        """For as long as this process lives."""
        while True:
            for name, root in self._roots.items():
                with contextlib.suppress(psutil.Error):
                    for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
                        with contextlib.suppress(psutil.Error):
                            times = process.cpu_times()
                            self._used[name][process.pid] = times.user + times.system
                            self.largest[name] = max(self.largest[name], process.memory_info().rss / 2**20)
            time.sleep(0.25)

    def used(self) -> dict[str, float]:
        """Seconds so far of each tree."""
        return {name: sum(list(by_process.values())) for name, by_process in self._used.items()}


def produce(bootstrap: str, topic: str, rate: int, seconds: float, first: int, times: list[float]) -> None:
    """Send so many events a second, evenly; the time of each goes into ``times``."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "acks": "all"})
    began, sent, total = time.time(), 0, int(rate * seconds)
    while sent < total:
        due = min(total, int((time.time() - began) * rate) + 1)
        for number in range(first + sent, first + due):
            now = time.time()
            event = {"seq": number, "carrier": "UA", "origin": "EWR", "delay": number % 90}
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
            producer.produce(topic, key=str(number), value=json.dumps(event | {"produced_at": moment}))
            times.append(now)
        sent = due
        producer.poll(0)
        time.sleep(max(0.0, began + (sent + 1) / rate - time.time()) if rate <= 500 else 0.002)
    producer.flush(30)


def visible_at(seen: list[tuple[int, float]], numbers: range) -> np.ndarray:
    """When each number was first covered by an answer."""
    greatest = [number for number, _ in seen]
    return np.array([seen[bisect.bisect_left(greatest, number)][1] for number in numbers])


def main() -> None:
    """Measure each rate in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[50, 500, 5000], help="events a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--run-seconds", type=float, default=45.0, help="a drain run ends after so long")
    arguments = parser.parse_args()
    rows = []
    with running_stack(arguments.run_seconds) as stack:
        topic = str(stack.datasets["latency_probe"].topic)
        bootstrap = stack.connections.kafka_bootstrap
        watcher = Watcher(stack.state.api_url, stack.credentials.api_key)
        watcher.start()
        pids = stack.state.processes
        meter = Meter({"drains": pids["code-server"], "postgres": pids["postgres"]})
        meter.start()
        times: list[float] = []
        produce(bootstrap, topic, 50, SETTLE_SECONDS, 0, times)
        for rate in arguments.rates:
            first, asked = len(times), len(watcher.took)
            before, began = meter.used(), time.time()
            produce(bootstrap, topic, rate, arguments.seconds, first, times)
            while not watcher.seen or watcher.seen[-1][0] < len(times) - 1:
                time.sleep(0.1)
                if time.time() - began > arguments.seconds + 120 or not watcher.is_alive():
                    raise RuntimeError(f"only {watcher.seen[-1:]} of {len(times)} events became visible")
            spent, after = time.time() - began, meter.used()
            with psycopg.connect(stack.connections.admin_dsn) as connection:
                ends = [
                    end
                    for (end,) in connection.execute(
                        "SELECT extract(epoch FROM ended_at)::float8 FROM ingest.drains "
                        "WHERE ended_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)",
                        (began, began + spent),
                    )
                ]
            visible = visible_at(watcher.seen, range(first, len(times)))
            latency = (visible - np.array(times[first:])) * 1000
            near = np.zeros(len(visible), bool)
            for end in ends:
                near |= abs(visible - end) < NEAR_SECONDS
            rows.append(
                {
                    "rate": rate,
                    "events": len(latency),
                    "p50_ms": round(float(np.percentile(latency, 50))),
                    "p99_ms": round(float(np.percentile(latency, 99))),
                    "max_ms": round(float(latency.max())),
                    "hand_overs": len(ends),
                    "p99_near_ms": round(float(np.percentile(latency[near], 99))) if near.any() else None,
                    "p99_far_ms": round(float(np.percentile(latency[~near], 99))),
                    "cpu_drains": round((after["drains"] - before["drains"]) / spent, 3),
                    "cpu_postgres": round((after["postgres"] - before["postgres"]) / spent, 3),
                    "answer_p50_ms": round(float(np.median(watcher.took[asked:])) * 1000, 1),
                    "load": round(os.getloadavg()[0], 1),
                }
            )
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        watcher.stop.set()
        print(f"largest process: drain run {meter.largest['drains']:.0f} MiB")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
