"""The embedded servers: what they promise beyond being PostgreSQL and Kafka."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from pista.local import kafka, postgres, processes
from pista.local.processes import Child, StackError
from pista.local.state import free_port

PASSWORD = "0123456789abcdef"


@dataclass
class Wreck:
    """A home of a test's own, and the servers that the test starts there."""

    home: Path
    children: list[Child] = field(default_factory=list)

    def postgres(self, port):
        cluster = postgres.locate(self.home)
        postgres.initialise(cluster, PASSWORD, durable=False)
        self.children.append(postgres.launch(cluster, port, durable=False))
        postgres.wait_ready(self.children[-1], postgres.dsn(port, PASSWORD))

    def kafka(self, port):
        self.children.append(kafka.launch(self.home, kafka.configure(self.home, port, free_port())))
        kafka.wait_ready(self.children[-1], port)

    def program(self, name, code):
        self.children.append(processes.start(name, [sys.executable, "-c", code], home=self.home))
        return self.children[-1]

    def kill(self):
        os.kill(self.children[-1].process.pid, signal.SIGKILL)
        self.children[-1].process.wait()

    def stop(self):
        return processes.stop(self.home, {"postgres", "kafka", "stubborn", "parent"}, self.children, seconds=5.0)


@pytest.fixture
def wreck(stack_home):
    wreck = Wreck(stack_home / f"wreck-{free_port()}")
    wreck.home.mkdir()
    yield wreck
    wreck.stop()
    shutil.rmtree(postgres.locate(wreck.home).root, ignore_errors=True)


def test_postgres_18_listens_on_loopback_only_and_asks_for_the_password(postgres_server):
    with psycopg.connect(postgres_server.admin_dsn) as connection:
        assert connection.info.server_version // 10000 == 18
        show = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert show["listen_addresses"] == "127.0.0.1"
        assert show["unix_socket_directories"] == ""
        locale = connection.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'template1'")
        assert locale.fetchone() == ("b", "C.UTF-8")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(postgres_server.port, "wrong"))


def test_as_root_the_server_is_an_unprivileged_user_and_its_data_are_closed(postgres_server, stack_home):
    root = postgres.locate(stack_home).root
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert root.stat().st_uid != 0 or os.geteuid() != 0
    owners = {
        Path(f"/proc/{pid}").stat().st_uid for pid, name in processes.marked(stack_home).items() if name == "postgres"
    }
    assert owners == {root.stat().st_uid}


def test_a_killed_postgres_recovers_even_where_its_process_id_belongs_to_another(wreck):
    wreck.postgres(free_port())
    wreck.kill()
    # the id of a process that lives and is the same user's: PostgreSQL by itself refuses to start then
    sleeper = subprocess.Popen(["sleep", "600"], **processes.as_user(postgres.locate(wreck.home).user))
    lock = postgres.locate(wreck.home).data / "postmaster.pid"
    lines = lock.read_text().splitlines(keepends=True)
    lock.write_text("".join([f"{sleeper.pid}\n", *lines[1:]]))
    try:
        wreck.postgres(free_port())
    finally:
        sleeper.kill()
        sleeper.wait()
    assert wreck.children[-1].process.poll() is None


def test_data_of_a_deleted_home_go_with_it(wreck):
    wreck.postgres(free_port())
    wreck.stop()
    cluster = postgres.locate(wreck.home)
    assert postgres.initialise(cluster, PASSWORD, durable=False) is False
    assert postgres.initialise(cluster, "another", durable=False) is True


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(wreck, postgres_server):
    with pytest.raises(StackError, match=r"(?s)postgres ended with exit code 1.*postgres\.log.*Address already in use"):
        wreck.postgres(postgres_server.port)


def test_kafka_keeps_acknowledged_records_through_kill_9(wreck):
    port = free_port()
    wreck.kafka(port)
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    admin.create_topics({"kept": {"num_partitions": 1}}, wait_for_metadata=True)
    admin.close()
    producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", acks="all")
    sent = [producer.send("kept", str(number).encode(), partition=0) for number in range(500)]
    assert [future.get(30).offset for future in sent] == list(range(500))
    producer.close()
    wreck.kill()
    wreck.kafka(port)
    consumer = KafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}", auto_offset_reset="earliest")
    assert consumer.end_offsets([TopicPartition("kept", 0)]) == {TopicPartition("kept", 0): 500}
    consumer.close()


def test_stop_ends_what_does_not_want_to_end_and_reports_it(wreck):
    child = wreck.program(
        "stubborn", "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    processes.wait_until(lambda: "up" in child.log.read_text(), child, 10)
    assert processes.marked(wreck.home) == {child.process.pid: "stubborn"}
    assert processes.stop(wreck.home, {"stubborn"}, [child], seconds=0.2) == ["stubborn"]
    assert processes.marked(wreck.home) == {}
    assert child.process.returncode == -signal.SIGKILL


def test_grandchildren_are_found_by_their_mark_after_their_parent_was_killed(wreck, eventually):
    sleep = "import time; time.sleep(600)"
    child = wreck.program(
        "parent",
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{sleep}']).pid, flush=True); {sleep}",
    )
    grandchild = int(eventually(lambda: child.log.read_text().strip()))
    wreck.kill()
    eventually(lambda: processes.marked(wreck.home) == {grandchild: "parent"})
    assert wreck.stop() == []
    assert processes.marked(wreck.home) == {}


def test_a_user_who_cannot_reach_the_environment_gets_a_copy_that_runs(wreck, monkeypatch):
    monkeypatch.setattr(postgres, "ROOT_DATA", wreck.home)
    monkeypatch.setattr(postgres, "_can_run", lambda program, user: False)
    me = processes.SystemUser("me", os.geteuid(), os.getegid())
    programs = postgres.binaries.__wrapped__(me)
    assert programs.is_relative_to(wreck.home)
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/")
    assert said.stdout.startswith("postgres (PostgreSQL) 18")
    # nobody else wants to write there, everybody may run it
    assert all(path.stat().st_mode & 0o005 for path in programs.iterdir())
