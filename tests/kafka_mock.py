"""librdkafka's mock cluster, which comes in the wheel of confluent-kafka: brokers that fail on demand.

It speaks to both clients (kafka-python needs ``api_version=(2, 3)``), keeps 5 MiB a partition, and knows
neither transactions that hide records, nor TLS or SASL. For volume and truth there is the real broker.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FETCH = 1  # the protocol's number of that request


def _library() -> ctypes.CDLL:
    import confluent_kafka

    package = Path(confluent_kafka.__file__).parent
    # Linux keeps the libraries of a wheel beside the package, macOS within it
    places = [*package.with_name("confluent_kafka.libs").glob("librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    library = ctypes.CDLL(str(places[0]))
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    library.rd_kafka_mock_partition_set_leader.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_int32,
    ]
    library.rd_kafka_mock_broker_set_down.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_broker_set_up.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int16,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    return library


class MockCluster:
    """Brokers 1 to n on loopback."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library = library
        self._cluster = cluster
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """With one replica of each partition."""
        self._check(self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1))

    def set_leader(self, topic: str, partition: int, broker: int) -> None:
        """Move a partition."""
        self._check(self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker))

    def stop(self, broker: int) -> None:
        """Close the broker's connections and refuse new ones; metadata goes on naming it as a leader."""
        self._check(self._library.rd_kafka_mock_broker_set_down(self._cluster, broker))

    def start(self, broker: int) -> None:
        """Take a stopped broker back."""
        self._check(self._library.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def fail(self, request: int, *errors: int) -> None:
        """Answer the coming requests of that kind by these errors of the protocol, one each."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), array)

    @staticmethod
    def _check(error: int) -> None:
        assert error == 0, f"librdkafka says {error}"


@contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    """A cluster until the block ends."""
    library = _library()
    text = ctypes.create_string_buffer(512)
    client = library.rd_kafka_new(0, library.rd_kafka_conf_new(), text, len(text))
    assert client, text.value
    cluster = library.rd_kafka_mock_cluster_new(client, brokers)
    try:
        yield MockCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)
