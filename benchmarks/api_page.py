"""CPU of one API request, server and PostgreSQL apart, in milliseconds: the figure that a busy machine does not blur.

Starts an API process of its own against PISTA_API_DSN, whose PostgreSQL must run on this machine, and asks it over
keep-alive connections. Example::

    PISTA_API_DSN=postgresql://... python benchmarks/api_page.py --key KEY --path '/v1/flights?carrier=eq.UA'
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import psutil

CONNECTIONS = 16
REPEATS = 3


@contextmanager
def api_process(port: int) -> Iterator[psutil.Process]:
    """An API process on that port, ready to serve."""
    environment = os.environ | {"PISTA_API_PORT": str(port)}
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-m", "api"], env=environment, stdout=quiet, stderr=quiet) as child:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                        break
                except OSError:
                    if time.monotonic() > deadline or child.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()


async def _postmaster() -> int:
    connection = await asyncpg.connect(os.environ["PISTA_API_DSN"])
    try:
        return psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).ppid()
    finally:
        await connection.close()


def _cpu(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _ask(port: int, request: bytes, count: int, status: bytes) -> None:
    """Send one request after the other on one connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        stream = connection.makefile("rb")
        for _ in range(count):
            connection.sendall(request)
            first = stream.readline()
            if status not in first:
                raise RuntimeError(f"expected {status!r}, got {first!r}")
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)


def _burst(port: int, request: bytes, count: int, status: bytes) -> None:
    each = max(1, count // CONNECTIONS)
    threads = [threading.Thread(target=_ask, args=(port, request, each, status)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(port: int, api: psutil.Process, postmaster: int, request: bytes, count: int, status: bytes) -> list[float]:
    """Median CPU milliseconds of the server and of PostgreSQL for each request."""
    _burst(port, request, count // 4, status)
    samples = []
    for _ in range(REPEATS):
        backends = [
            process for process in psutil.Process(postmaster).children()
            if "pista_api" in " ".join(process.cmdline())
        ]  # fmt: skip
        before = _cpu([api]), _cpu(backends)
        _burst(port, request, count, status)
        sent = max(1, count // CONNECTIONS) * CONNECTIONS
        samples.append(((_cpu([api]) - before[0]) / sent * 1e3, (_cpu(backends) - before[1]) / sent * 1e3))
    return [statistics.median(sample[part] for sample in samples) for part in (0, 1)]


def main() -> None:
    """Measure one row, a hundred rows, and a conditional request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", required=True, help="API key")
    parser.add_argument("--path", required=True, help="path and query, without limit")
    parser.add_argument("--port", type=int, default=18_080)
    parser.add_argument("--requests", type=int, default=3_000)
    arguments = parser.parse_args()
    postmaster = asyncio.run(_postmaster())
    joint = "&" if "?" in arguments.path else "?"

    def request(limit: int, extra: str = "") -> bytes:
        target = f"{arguments.path}{joint}limit={limit}"
        return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {arguments.key}\r\n{extra}\r\n".encode()

    with api_process(arguments.port) as api:
        ask = urllib.request.Request(f"http://127.0.0.1:{arguments.port}{arguments.path}{joint}limit=100")
        ask.add_header("X-API-Key", arguments.key)
        with urllib.request.urlopen(ask) as answer:
            etag = answer.headers["ETag"]
        cases = {
            "1 row": (request(1), b"200"),
            "100 rows": (request(100), b"200"),
            "304": (request(100, f"If-None-Match: {etag}\r\n"), b"304"),
        }
        print(f"{'':10}{'server':>8}{'PostgreSQL':>12}{'sum':>8}   CPU ms a request")
        for name, (text, status) in cases.items():
            server, database = measure(arguments.port, api, postmaster, text, arguments.requests, status)
            print(f"{name:10}{server:8.3f}{database:12.3f}{server + database:8.3f}")


if __name__ == "__main__":
    main()
