"""From Kafka to PostgreSQL, Pista beside its peers: CPU, wall time, memory, and whether the rows are right.

Starts a PostgreSQL and a Kafka of its own, publishes real flight events, and lets each client load them into empty
tables, one after the other. What peers need is fetched once into the user's cache. Example::

    python -m benchmarks.ingest --rows 200000 --repeats 1
"""

import argparse
import os
import platform
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from benchmarks.ingest.bento import Bento
from benchmarks.ingest.client import Client, PeerMissingError
from benchmarks.ingest.kafka_connect import KafkaConnect
from benchmarks.ingest.measure import ProgramFailedError, run, server_cpu
from benchmarks.ingest.pista_drain import Pista
from benchmarks.ingest.python_peers import Dlt, Pathway
from benchmarks.ingest.report import Result, Run, result, summary, table
from benchmarks.ingest.servers import Servers, database, servers
from benchmarks.ingest.sql import BareCopy, MergeFloor
from benchmarks.ingest.topic import Topic, expected_rows, messages, publish

CLIENTS: dict[str, Client] = {
    "confluent-kafka": Pista("confluent-kafka"),
    "kafka-python": Pista("kafka-python"),
    "connect": KafkaConnect(),
    "dlt": Dlt(),
    "pathway": Pathway(),
    "bento": Bento(),
    "floor": MergeFloor(),
    "copy": BareCopy(),
}
TIMEOUT_SECONDS = 1800.0


def compare(
    running: Servers, clients: Sequence[Client], rows: int, repeats: int
) -> tuple[list[Result], dict[str, str]]:
    """Results of the clients, and the peers that are missing with the reason."""
    content = messages(rows)
    expected = Counter(expected_rows(content))
    whole, first = Topic("nyc.flights", content), Topic("nyc.flights.first", content[:1])
    for topic in (whole, first):
        publish(running.bootstrap, topic)
    results, missing = [], {}
    for client in clients:
        try:
            client.prepare(running.home)
            runs = [measure(running, client, whole, first, expected) for _ in range(repeats)]
        except (PeerMissingError, ProgramFailedError) as error:
            if client.kind != "peer":
                raise
            missing[client.name] = str(error)
            print(f"{client.name} is MISSING: {error}", file=sys.stderr, flush=True)
            continue
        results.append(result(client.name, client.kind, client.configuration, rows, runs))
        print(f"{client.name}: {results[-1].rows_per_cpu_second:,.0f} rows a CPU-second", file=sys.stderr, flush=True)
    return results, missing


def measure(running: Servers, client: Client, whole: Topic, first: Topic, expected: "Counter[str]") -> Run:
    """One run of a client over the first message, and one over all."""
    log = running.home / "client.log"
    with database(running) as empty:
        start = run(client.job(empty, first), log, TIMEOUT_SECONDS)
    with database(running) as empty:
        job = client.job(empty, whole)
        before = server_cpu(running.postmaster)
        usage = run(job, log, TIMEOUT_SECONDS)
        spent = server_cpu(running.postmaster) - before
        found = Counter(empty.rows(client.relation))
    wrong = max((expected - found).total(), (found - expected).total())
    return Run(usage, start, spent, wrong)


def main() -> None:
    """Compare, print the table, and end with a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages on the topic (default 1,000,000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each client (default 3)")
    parser.add_argument("--clients", nargs="+", choices=list(CLIENTS), default=list(CLIENTS), metavar="CLIENT")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with servers() as running:
        chosen = [CLIENTS[name] for name in arguments.clients]
        results, missing = compare(running, chosen, arguments.rows, arguments.repeats)
    print(table(results, missing))
    print(summary(results))


def _end(*_: object) -> NoReturn:
    raise SystemExit(143)  # so that whatever was started is stopped


if __name__ == "__main__":
    main()
