"""``python -m api`` as a process."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg

REPOSITORY = Path(__file__).resolve().parents[3]


def test_it_serves_logs_one_line_a_request_and_ends_on_sigterm(
    api_database: tuple[str, str], eventually: Any, tmp_path: Path
) -> None:
    admin_dsn, api_dsn = api_database
    environment = os.environ | {"PISTA_API_DSN": api_dsn, "PISTA_API_PORT": "0"}
    log = tmp_path / "log"
    lines: list[str] = []
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "api"], env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            url = eventually(lambda: _address(log), timeout=20)
            with httpx.Client(base_url=url, headers={"apikey": "test-key-all"}, timeout=10) as client:
                assert client.get("/v1/readings?limit=2&label=neq.personal").status_code == 200
                with psycopg.connect(admin_dsn) as blocker, ThreadPoolExecutor() as pool:
                    blocker.execute("LOCK TABLE curated.readings IN ACCESS EXCLUSIVE MODE")
                    under_way = pool.submit(client.get, "/v1/readings?limit=3")
                    eventually(lambda: blocker.execute(_WAITING).fetchall(), timeout=5)
                    process.send_signal(signal.SIGTERM)
                    eventually(lambda: _refuses(url), timeout=5)
                    blocker.rollback()
                    assert len(under_way.result(10).json()) == 3
            output, _ = process.communicate(timeout=15)
            lines = output.decode().splitlines()
        finally:
            process.kill()
    assert process.returncode in (0, -signal.SIGTERM)
    entries = [json.loads(line) for line in lines]
    assert [(entry["path"], entry["status"], entry["rows"]) for entry in entries if "rows" in entry] == [
        ("/v1/readings", 200, 2),
        ("/v1/readings", 200, 3),
    ]
    assert "personal" not in output.decode()
    text = log.read_text()
    assert "uvicorn.access" not in text
    assert "Traceback" not in text


_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'pista-api' AND wait_event_type = 'Lock' AND datname = current_database()
"""


def _refuses(url: str) -> bool:
    """Whether no new connection is taken."""
    try:
        httpx.get(f"{url}/livez", timeout=1)
    except httpx.ConnectError:
        return True
    return False


def _address(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        if "running on " in line:
            return line.split("running on ")[1].split()[0]
    return None


def test_without_a_connection_string_it_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PISTA_API_DSN"}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert done.stderr.startswith("PISTA_API_DSN is not set")
