"""Connection options of every Kafka client, from the settings."""

from pista.settings import Settings


class KafkaNotConfiguredError(Exception):
    """No Kafka address is known to this process."""


def client_options(settings: Settings) -> dict[str, object]:
    """Keyword arguments that any kafka-python client takes.

    Raises:
        KafkaNotConfiguredError: ``PISTA_KAFKA_BOOTSTRAP`` is not set.
    """
    if not settings.kafka_bootstrap:
        raise KafkaNotConfiguredError(
            "PISTA_KAFKA_BOOTSTRAP is not set. Give it as host:port, or start the local stack with `pista up`."
        )
    return {"bootstrap_servers": settings.kafka_bootstrap.split(",")}


def confluent_options(settings: Settings) -> dict[str, object]:
    """The same connection as librdkafka's properties, which confluent-kafka takes.

    Raises:
        KafkaNotConfiguredError: as ``client_options`` does.
    """
    client_options(settings)
    return {"bootstrap.servers": settings.kafka_bootstrap}
