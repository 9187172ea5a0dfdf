"""kafka-python's network client, made to say why it is not let in.

As it comes it tries again until time is up, and keeps the reason to its log.
"""

import ssl
from typing import Any

import kafka.errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pista.kafka.errors import AccessError, TokenError

REFUSED = (
    kafka.errors.SaslAuthenticationFailedError,
    kafka.errors.AuthorizationError,
    kafka.errors.UnsupportedSaslMechanismError,
)


class NetworkClient(KafkaNetClient):  # type: ignore[misc] # kafka-python has no types
    """For the option ``kafka_client`` of any kafka-python client."""

    def __init__(self, **options: Any) -> None:
        network = NetworkSelector(**options)
        super().__init__(net=network, manager=_Manager(network, **options), **options)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Does not try a broker again that has refused us: whoever asks gets its reason."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refusals: dict[Any, Exception] = {}

    def get_connection(self, node_id: Any, *arguments: Any, **options: Any) -> Any:
        if node_id in self._refusals:
            raise self._refusals[node_id]
        known = self._conns.get(node_id)
        connection = super().get_connection(node_id, *arguments, **options)
        if connection is not known:
            connection.init_future.add_errback(lambda error: self._note(node_id, error))
        return connection

    def _note(self, node_id: Any, error: BaseException) -> None:
        if isinstance(error, REFUSED) or "certificate" in str(error).lower():
            self._refusals[node_id] = AccessError(str(error))
        elif isinstance(error, TokenError):
            self._refusals[node_id] = error


class Socket(ssl.SSLSocket):
    """Says that the peer has hung up in a call of its own.

    kafka-python drops what it received together with the hang-up: the broker's reason for refusing a user.
    """

    _handed_over = True

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As ``socket.recv``; after data, the end comes in the next but one call."""
        data = super().recv(buflen, flags)
        if not data and not self._handed_over:
            self._handed_over = True
            raise ssl.SSLWantReadError
        self._handed_over = not data
        return data
