"""`pista up`, `status`, `down` as people use them: whole, interrupted, killed, twice."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psycopg
import pytest

from pista.local import processes

from .conftest import REPOSITORY, Stack

EVERYTHING = {"postgres", "kafka", "code-server", "daemon", "webserver", "api"}
ROWS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 2_226, "flights": 27_004}  # of January

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("stack").resolve())
    yield stack
    stack.remove()


def test_up_serves_a_month_and_the_printed_curl_works(stack):
    said = stack.up()
    assert set(processes.marked(stack.home).values()) == EVERYTHING
    status = stack.status()
    assert status["ready"]
    found = {one["name"]: one for one in status["datasets"]}
    assert {name: found[name]["rows"] for name in ROWS} == ROWS
    assert all(found[name]["lag"] == 0 and found[name]["quarantined"] == 0 for name in ROWS)

    header, url = re.search(r"curl -H '(\S+: Bearer \S+)' '(\S+)'", said).groups()
    request = urllib.request.Request(url, headers=dict([header.split(": ")]))
    with urllib.request.urlopen(request, timeout=10) as response:
        rows = json.load(response)
    assert len(rows) == 3
    assert {row["dest"] for row in rows} == {"SFO"}


def test_secrets_are_readable_by_their_owner_only(stack):
    for name in ("credentials.json", "stack.json"):
        assert (stack.home / name).stat().st_mode & 0o077 == 0


def test_a_second_up_says_that_one_runs(stack):
    done = stack.run("up")
    assert done.returncode == 1
    assert re.fullmatch(r"Error: The stack at \S+ runs already, started by process \d+: .*\n", done.stderr)
    assert stack.status()["ready"]


def test_killed_launcher_then_up_finds_the_leftovers_and_publishes_nothing_again(stack):
    launcher = stack.state["launcher"]
    os.kill(launcher, signal.SIGKILL)
    assert not stack.status()["ready"]
    assert set(processes.marked(stack.home).values()) == EVERYTHING  # they live on, for nobody told them
    before = set(processes.marked(stack.home))
    said = stack.up()
    assert "An earlier run left api, code-server, daemon, kafka, postgres, webserver behind" in said
    assert "Nothing to publish" in said
    assert not before & set(processes.marked(stack.home))
    assert {one["name"]: one["rows"] for one in stack.status()["datasets"] if one["name"] in ROWS} == ROWS


def test_everything_killed_at_once_then_up_loses_nothing(stack):
    os.kill(stack.state["launcher"], signal.SIGKILL)
    for pid in processes.marked(stack.home):
        os.kill(pid, signal.SIGKILL)
    stack.up()
    status = stack.status()
    assert {one["name"]: one["rows"] for one in status["datasets"] if one["name"] in ROWS} == ROWS
    with psycopg.connect(status["postgres_dsn"]) as connection:
        assert connection.execute("SELECT count(*) FROM curated.flights").fetchone() == (ROWS["flights"],)


def test_a_process_that_ends_is_named_with_its_log_and_all_stop(stack, eventually):
    launcher = stack.state["launcher"]
    stack.kill("api")
    eventually(lambda: not Path(f"/proc/{launcher}").exists(), 60)
    said = (stack.home / "logs" / "up.log").read_text()
    assert f"Error: api was ended by SIGKILL. The end of {stack.home / 'logs' / 'api.log'}:" in said
    assert processes.marked(stack.home) == {}


def test_a_port_that_the_environment_names_and_that_is_taken_is_one_sentence(stack):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = stack.run("up", PISTA_API_PORT=str(port))
    assert done.returncode == 1
    assert f"Error: Port {port} of PISTA_API_PORT is taken by another program" in done.stderr
    assert "Traceback" not in done.stderr
    assert processes.marked(stack.home) == {}


def test_preferred_ports_that_are_taken_are_replaced_and_ctrl_c_stops_everything(stack, eventually):
    ports = stack.state["ports"]
    blockers = [socket.create_server(("127.0.0.1", ports[name])) for name in ("api", "postgres", "kafka")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pista.cli", "up"],
        cwd=REPOSITORY,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        now = stack.state["ports"]
        assert not {now["api"], now["postgres"], now["kafka"]} & {blocker.getsockname()[1] for blocker in blockers}
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        for blocker in blockers:
            blocker.close()
    assert "Stopped." in rest
    assert process.returncode == 130
    assert processes.marked(stack.home) == {}
    assert stack.ports_in_use() == []


def test_interrupted_while_it_starts_it_leaves_nothing(stack):
    process = subprocess.Popen(
        [sys.executable, "-m", "pista.cli", "up"],
        cwd=REPOSITORY,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "Starting" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert processes.marked(stack.home) == {}


def test_down_stops_everything_from_another_terminal(stack):
    stack.up()
    done = stack.run("down")
    assert done.stdout == "Stopped.\n"
    assert processes.marked(stack.home) == {}
    assert stack.ports_in_use() == []
    assert stack.run("down").stdout == "Nothing runs.\n"
    status = stack.run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, {"ready": False, "datasets": []})
