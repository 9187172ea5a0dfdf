"""Every way into a real broker, with both clients and the admin; and what they say where they are not let in."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from kafka.errors import KafkaError

from pista.commands.producing import publish
from pista.kafka.client import Connection, client_options
from pista.kafka.confluent import confluent_reader
from pista.kafka.errors import AccessError
from pista.kafka.python import python_reader
from pista.kafka.reader import Reader, make_reader
from pista.kafka.tokens import TokenSource
from pista.kafka.topics import TopicAdmin, describe_topics
from pista.settings import KafkaClient, KafkaProtocol, SaslMechanism, Settings
from tests.secure_kafka import PASSWORD, USER, SecureKafka, secure_kafka, unsecured_token

from .conftest import CLIENTS, read, values

TOPIC = "guarded"
QUICK_SECONDS = 30.0  # far less than the minute that a drain has for a broker that is away


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as broker:
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=broker.addresses["PLAIN"])
        admin.create_topics({TOPIC: {"num_partitions": 1}}, wait_for_metadata=True)
        admin.close()
        yield broker


def ways(broker: SecureKafka) -> dict[str, dict[str, Any]]:
    """Settings by way in."""
    mutual = {"kafka_cert_file": broker.cert_file, "kafka_key_file": broker.key_file}
    tls = {"kafka_security_protocol": KafkaProtocol.SSL, "kafka_ca_file": broker.ca_file}
    scram = {
        "kafka_security_protocol": KafkaProtocol.SASL_SSL,
        "kafka_ca_file": broker.ca_file,
        "kafka_sasl_mechanism": SaslMechanism.SCRAM,
        "kafka_username": USER,
        "kafka_password": PASSWORD,
    }
    found = {"PLAIN": {}, "TLS": tls, "MUTUAL": {**tls, **mutual}, "SCRAM": scram}
    return {name: {"kafka_bootstrap": broker.addresses[name], **options} for name, options in found.items()}


@pytest.mark.parametrize("client", CLIENTS, ids=str)
@pytest.mark.parametrize("way", ["PLAIN", "TLS", "MUTUAL", "SCRAM"])
def test_a_way_in(way: str, client: KafkaClient, broker: SecureKafka) -> None:
    settings = Settings(kafka_client=client, **ways(broker)[way])
    assert publish(client_options(settings), TOPIC, [(None, way.encode())]) == 1
    state = describe_topics(client_options(settings), [TOPIC])[TOPIC]
    assert state is not None
    reader = make_reader(settings, TOPIC)
    assert values(read(reader, {0: state.end[0] - 1}, state.end)) == [way.encode()]
    reader.close()


def refused(broker: SecureKafka) -> dict[str, tuple[dict[str, Any], str]]:
    """Settings that do not get in, and what the error says of it."""
    way = ways(broker)
    odd = {"kafka_cert_file": broker.other_cert_file, "kafka_key_file": broker.other_key_file}
    none = {"kafka_cert_file": None, "kafka_key_file": None}
    return {
        "password": ({**way["SCRAM"], "kafka_password": "wrong"}, "(?i)authentication failed"),
        "user": ({**way["SCRAM"], "kafka_username": "nobody"}, "(?i)authentication failed"),
        "authority": ({**way["TLS"], "kafka_ca_file": broker.other_ca_file}, "(?i)certificate.verify.failed"),
        "public authorities": ({**way["TLS"], "kafka_ca_file": None}, "(?i)certificate.verify.failed"),
        "no certificate": ({**way["MUTUAL"], **none}, "(?i)certificate"),
        "another's certificate": ({**way["MUTUAL"], **odd}, "(?i)certificate|alert"),
    }


REFUSALS = ["password", "user", "authority", "public authorities", "no certificate", "another's certificate"]


@pytest.mark.parametrize("client", CLIENTS, ids=str)
@pytest.mark.parametrize("trouble", REFUSALS)
def test_a_reader_that_is_not_let_in_says_so_soon(trouble: str, client: KafkaClient, broker: SecureKafka) -> None:
    options, words = refused(broker)[trouble]
    reader = make_reader(Settings(kafka_client=client, **options), TOPIC)
    began = time.monotonic()
    with pytest.raises(AccessError, match=words):
        read(reader, {0: 0}, {0: 1})
    assert time.monotonic() - began < QUICK_SECONDS


@pytest.mark.parametrize("trouble", REFUSALS)
def test_an_admin_that_is_not_let_in_says_so_soon(trouble: str, broker: SecureKafka) -> None:
    options, words = refused(broker)[trouble]
    began = time.monotonic()
    with pytest.raises(AccessError, match=words) as caught:
        describe_topics(client_options(Settings(**options)), [TOPIC])
    assert time.monotonic() - began < QUICK_SECONDS
    assert PASSWORD not in str(caught.value)


def with_tokens(broker: SecureKafka, fetch: Callable[[], tuple[str, float]]) -> Connection:
    return Connection(
        (broker.addresses["OAUTH"],),
        KafkaProtocol.SASL_SSL,
        broker.ca_file,
        mechanism="OAUTHBEARER",
        tokens=TokenSource(fetch),
    )


READERS = [
    pytest.param(lambda c: confluent_reader(c.for_confluent(), TOPIC), id="confluent-kafka"),
    pytest.param(lambda c: python_reader(c.for_kafka_python(), TOPIC), id="kafka-python"),
]


@pytest.mark.parametrize("open_", READERS)
def test_a_token_is_fetched_once_for_all_connections(
    open_: Callable[[Connection], Reader], broker: SecureKafka
) -> None:
    fetched = []

    def fetch() -> tuple[str, float]:
        fetched.append(unsecured_token())
        return fetched[-1]

    connection = with_tokens(broker, fetch)
    producer = confluent_kafka.Producer(connection.for_confluent())
    producer.produce(TOPIC, b"token", partition=0)
    assert producer.flush(30) == 0
    admin = TopicAdmin(connection.for_kafka_python())
    end = admin.describe([TOPIC])[TOPIC].end  # type: ignore[union-attr]
    admin.close()
    reader = open_(connection)
    assert values(read(reader, {0: end[0] - 1}, end)) == [b"token"]
    reader.close()
    assert len(fetched) == 1


@pytest.mark.parametrize("open_", READERS)
def test_a_token_that_the_broker_refuses_is_an_error(
    open_: Callable[[Connection], Reader], broker: SecureKafka
) -> None:
    # a minute too late for the broker, and good for an hour to us
    connection = with_tokens(broker, lambda: (unsecured_token(seconds=-60)[0], time.time() + 3600))
    reader = open_(connection)
    began = time.monotonic()
    with pytest.raises(AccessError, match=r"(?i)invalid_token|authentication"):
        read(reader, {0: 0}, {0: 1})
    assert time.monotonic() - began < QUICK_SECONDS


@pytest.mark.parametrize("open_", READERS)
def test_without_a_token_the_error_says_why(open_: Callable[[Connection], Reader], broker: SecureKafka) -> None:
    def fetch() -> tuple[str, float]:
        raise OSError("the token service is away")

    reader = open_(with_tokens(broker, fetch))
    began = time.monotonic()
    with pytest.raises(KafkaError, match="the token service is away"):
        read(reader, {0: 0}, {0: 1})
    assert time.monotonic() - began < QUICK_SECONDS
