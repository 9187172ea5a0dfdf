"""Errors of reading Kafka, whichever client reads.

All are ``kafka.errors.KafkaError``, so that a caller handles both clients alike:

- ``ClientError``: what confluent-kafka reported; trying again may help
- ``CallTimeoutError``: a call did not return within its deadline
- ``ReaderStalledError``: the broker has records that the client does not deliver
- ``OffsetOutOfRangeError``: the log does not reach back, or not up, to where reading should start
- ``TokenError``: there is no token to show to the broker
- ``AccessError``: the broker does not let us in; trying again does not help
"""

from kafka.errors import KafkaError


class ClientError(KafkaError):  # type: ignore[misc] # kafka-python has no types
    """What a client reported of broker or connection; trying again may help."""

    def __str__(self) -> str:
        return " ".join(map(str, self.args))


class CallTimeoutError(ClientError):
    """A call to Kafka did not return within its deadline, and was abandoned."""


class ReaderStalledError(ClientError):
    """The broker has records that the client does not deliver."""


class OffsetOutOfRangeError(ClientError):
    """The log does not hold the offset from which to read. No record is skipped: nothing was read."""


class TokenError(ClientError):
    """There is no token to show to the broker: AWS does not answer, or the process has no credentials."""


class AccessError(ClientError):
    """The broker refused certificate, user or permission, or is not to be trusted; another try does not help."""
