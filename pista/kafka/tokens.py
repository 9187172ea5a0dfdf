"""Tokens of OAUTHBEARER for both clients: fetched one at a time, kept until a minute before they expire."""

import functools
import threading
import time
from collections.abc import Callable

from kafka.net.sasl.oauth import AbstractTokenProvider

from pista.kafka.errors import TokenError

MARGIN_SECONDS = 60.0

Fetch = Callable[[], tuple[str, float]]  # a token, and when it expires in seconds since 1970


class TokenSource(AbstractTokenProvider):  # type: ignore[misc] # kafka-python has no types, and asks for this base
    """Gives every connection the same token, for a new one costs 100 ms."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._expires = 0.0

    def token(self) -> str:
        """A token that is good for a minute at least; kafka-python asks at each connection.

        Raises:
            TokenError: there is none to be had.
        """
        return self.with_expiry()[0]

    def with_expiry(self, _config: str = "") -> tuple[str, float]:
        """The token and when it expires, seconds since 1970; confluent-kafka's ``oauth_cb``.

        Raises:
            TokenError: there is none to be had.
        """
        with self._lock:
            if self._clock() >= self._expires - MARGIN_SECONDS:
                try:
                    self._token, self._expires = self._fetch()
                except Exception as error:  # of AWS's libraries, which have no common base
                    raise TokenError(f"no token for Kafka: {type(error).__name__}: {error}") from error
            return self._token, self._expires


@functools.cache
def msk_tokens(region: str) -> TokenSource:
    """Tokens of MSK's IAM authentication, made of the process's AWS credentials; one source a process."""

    def fetch() -> tuple[str, float]:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        try:
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
        except AttributeError as error:  # how the signer trips over credentials that are None
            raise LookupError("this process has no AWS credentials") from error
        return token, expires_ms / 1000

    return TokenSource(fetch)
