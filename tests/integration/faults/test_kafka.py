"""Brokers restarted and killed, leaders moved, connections cut and swallowed: the drain goes on, or the next does."""

import logging
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pista.ingest import drain as drain_module
from pista.kafka.reader import ReaderStalledError
from pista.local import kafka, processes
from pista.local.state import free_port

from .conftest import BATCH, Broker, Drill
from .wire import Wire

MakeDrill = Callable[..., Drill]


@pytest.fixture(params=["confluent-kafka", "kafka-python"])
def client(request: pytest.FixtureRequest) -> str:
    """What reads; they break in different ways."""
    return str(request.param)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_broker_goes_away_and_comes_back(
    make_drill: MakeDrill, client: str, broker: Broker, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    drill = make_drill(broker.address, client=client)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    with caplog.at_level(logging.WARNING):
        getattr(broker, how)()
        drill.wait_until(lambda: "drain of legs" in caplog.text)
        broker.start()
        drill.produce(BATCH)
        drill.finish()


def test_a_broker_that_stays_away_ends_the_drain_and_the_next_goes_on(
    make_drill: MakeDrill, client: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "PATIENCE_SECONDS", 2.0)
    drill = make_drill(broker.address, client=client)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    broker.kill()
    assert isinstance(drill.end(timeout=90), KafkaError | ReaderStalledError)
    broker.start()
    drill.finish()


@pytest.fixture
def second(broker: Broker) -> Iterator[Broker]:
    """A second node of the broker's cluster, without a vote."""
    home = broker.home.with_name("second")
    port = free_port()
    folder = home / "kafka"
    folder.mkdir(parents=True)
    properties = folder / "server.properties"
    first = broker.properties.read_text()
    lines = [line for line in first.splitlines() if not line.startswith(("listeners=", "advertised.", "log.dirs="))]
    text = "\n".join(lines).replace("process.roles=broker,controller", "process.roles=broker")
    properties.write_text(
        text.replace("node.id=1", "node.id=2")
        + f"\nlisteners=PLAINTEXT://127.0.0.1:{port}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
        + f"log.dirs={folder / 'data'}\n"
    )
    meta = (broker.home / "kafka" / "data" / "meta.properties").read_text()
    cluster = next(line.partition("=")[2] for line in meta.splitlines() if line.startswith("cluster.id="))
    command = kafka._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties)
    processes.run(kafka.KAFKA, command, home=home, directory=folder)
    node = Broker(home, port, properties)
    node.start()
    yield node
    processes.stop(home, {kafka.KAFKA}, [node.child] if node.child else [])


def test_the_leader_of_partitions_moves(
    make_drill: MakeDrill, client: str, broker: Broker, second: Broker, eventually: Callable[..., object]
) -> None:
    drill = make_drill(f"{broker.address},{second.address}", client=client, replication=2)
    drill.produce(BATCH * 20)
    admin = KafkaAdminClient(bootstrap_servers=broker.address)

    def leaders() -> set[int]:
        try:
            (topic,) = admin.describe_topics([drill.dataset.topic])
        except KafkaError:  # it asked the node that was killed
            return set()
        return {partition["leader_id"] for partition in topic["partitions"]}

    assert 2 in leaders()  # else nothing would move
    drill.start()
    drill.wait_for_batches(2)
    second.kill()
    eventually(lambda: leaders() == {1})
    drill.produce(BATCH)
    drill.finish()
    admin.close()


@pytest.fixture
def wire(broker: Broker) -> Iterator[tuple[Wire, str]]:
    """The broker told to be reached through a wire; and its address past it."""
    broker.stop()
    inner, direct = broker.port, free_port()
    wire = Wire(inner)
    lines = [
        line for line in broker.properties.read_text().splitlines() if not line.startswith(("listeners", "advertised"))
    ]
    text = "\n".join(lines)
    controller = next(line for line in lines if line.startswith("controller.quorum.voters=")).rpartition("@")[2]
    listeners = f"PLAINTEXT://127.0.0.1:{inner},DIRECT://127.0.0.1:{direct},CONTROLLER://{controller}"
    advertised = f"PLAINTEXT://127.0.0.1:{wire.port},DIRECT://127.0.0.1:{direct}"
    broker.properties.write_text(
        text.replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT,")
        + f"\nlisteners={listeners}\nadvertised.listeners={advertised}\ninter.broker.listener.name=DIRECT\n"
    )
    broker.port = direct
    broker.start()
    yield wire, f"127.0.0.1:{direct}"
    wire.close()


def test_connections_are_cut_in_the_middle_of_a_fetch(
    make_drill: MakeDrill, client: str, wire: tuple[Wire, str]
) -> None:
    cutter, direct = wire
    drill = make_drill(f"127.0.0.1:{cutter.port}", direct, client)
    drill.produce(BATCH * 20)
    drill.start()
    for _ in range(5):
        drill.wait_for_batches(2)
        cutter.cut()
    drill.finish()


def test_a_connection_that_is_a_black_hole_does_not_hold_the_drain(
    make_drill: MakeDrill, client: str, wire: tuple[Wire, str], caplog: pytest.LogCaptureFixture
) -> None:
    hole, direct = wire
    drill = make_drill(f"127.0.0.1:{hole.port}", direct, client)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    with caplog.at_level(logging.WARNING):
        hole.black_hole()
        drill.wait_until(lambda: "drain of legs" in caplog.text, timeout=90)
        hole.heal()
        drill.finish()


def test_a_partition_is_added_under_the_drain(make_drill: MakeDrill, client: str, broker: Broker) -> None:
    drill = make_drill(broker.address, client=client)
    drill.produce(BATCH * 10)
    drill.start()
    drill.wait_for_batches(2)
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.create_partitions({drill.dataset.topic: 5})
    admin.close()
    # keys move to other partitions: the time of a record decides which event of a key is newer
    drill.produce(BATCH * 10)
    drill.finish()
    assert drill.query("SELECT count(*) FROM ingest.ledger") == [(5,)]
