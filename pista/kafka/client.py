"""Connection options of every Kafka client, from the settings."""

import importlib.util
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pista.kafka.errors import AccessError
from pista.kafka.network import REFUSED, NetworkClient, Socket
from pista.kafka.tokens import TokenSource, msk_tokens
from pista.settings import KafkaProtocol, SaslMechanism, Settings

TLS = {KafkaProtocol.SSL, KafkaProtocol.SASL_SSL}
SASL = {KafkaProtocol.SASL_PLAINTEXT, KafkaProtocol.SASL_SSL}


class KafkaNotConfiguredError(Exception):
    """The settings do not say how to connect to Kafka, or contradict themselves."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to connect to Kafka: the settings, checked; each client has its own words for it."""

    bootstrap: tuple[str, ...]
    protocol: KafkaProtocol = KafkaProtocol.PLAINTEXT
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tokens: TokenSource | None = None

    def for_kafka_python(self) -> dict[str, Any]:
        """Keyword arguments of any kafka-python client."""
        found: dict[str, Any] = {"bootstrap_servers": list(self.bootstrap)}
        found.update(
            _given(
                security_protocol=None if self.protocol is KafkaProtocol.PLAINTEXT else str(self.protocol),
                kafka_client=None if self.protocol is KafkaProtocol.PLAINTEXT else NetworkClient,
                ssl_context=self._ssl_context() if self.protocol in TLS else None,
                sasl_mechanism=self.mechanism,
                sasl_plain_username=self.username,
                sasl_plain_password=self.password,
                sasl_oauth_token_provider=self.tokens,
            )
        )
        return found

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        context.sslsocket_class = Socket
        return context

    def for_confluent(self) -> dict[str, Any]:
        """Properties of librdkafka."""
        names = {
            "bootstrap.servers": ",".join(self.bootstrap),
            "security.protocol": None if self.protocol is KafkaProtocol.PLAINTEXT else str(self.protocol),
            "ssl.ca.location": self.ca_file and str(self.ca_file),
            "ssl.certificate.location": self.cert_file and str(self.cert_file),
            "ssl.key.location": self.key_file and str(self.key_file),
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "oauth_cb": self.tokens and self.tokens.with_expiry,
        }
        return _given(**names)


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def connection(settings: Settings) -> Connection:
    """The connection that the settings describe.

    Raises:
        KafkaNotConfiguredError: one is missing, contradicts another, or names a file that is not there.
    """
    if not settings.kafka_bootstrap:
        raise KafkaNotConfiguredError(
            "PISTA_KAFKA_BOOTSTRAP is not set. Give it as host:port, or start the local stack with `pista up`."
        )
    for trouble in _troubles(settings):
        raise KafkaNotConfiguredError(trouble)
    iam = settings.kafka_sasl_mechanism is SaslMechanism.MSK_IAM
    password = settings.kafka_password
    return Connection(
        tuple(settings.kafka_bootstrap.split(",")),
        settings.kafka_security_protocol,
        settings.kafka_ca_file,
        settings.kafka_cert_file,
        settings.kafka_key_file,
        "OAUTHBEARER" if iam else settings.kafka_sasl_mechanism,
        settings.kafka_username,
        password.get_secret_value() if password else None,
        msk_tokens(_region(settings)) if iam else None,
    )


def _troubles(settings: Settings) -> Iterator[str]:
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    files = {
        "PISTA_KAFKA_CA_FILE": settings.kafka_ca_file,
        "PISTA_KAFKA_CERT_FILE": settings.kafka_cert_file,
        "PISTA_KAFKA_KEY_FILE": settings.kafka_key_file,
    }
    for name, path in files.items():
        if path is not None and protocol not in TLS:
            yield f"{name} is set, but PISTA_KAFKA_SECURITY_PROTOCOL is {protocol}: TLS takes SSL or SASL_SSL."
        if path is not None and not path.is_file():
            yield f"{name} is {path}, and there is no such file."
    if (settings.kafka_cert_file is None) != (settings.kafka_key_file is None):
        given, missing = ("CERT", "KEY") if settings.kafka_cert_file else ("KEY", "CERT")
        yield f"PISTA_KAFKA_{given}_FILE is set without PISTA_KAFKA_{missing}_FILE: a client certificate takes both."
    if protocol in SASL and mechanism is None:
        yield (
            f"PISTA_KAFKA_SECURITY_PROTOCOL is {protocol}, but PISTA_KAFKA_SASL_MECHANISM is not set: "
            f"say {' or '.join(SaslMechanism)}."
        )
    if protocol not in SASL and mechanism is not None:
        yield (
            f"PISTA_KAFKA_SASL_MECHANISM is {mechanism}, but PISTA_KAFKA_SECURITY_PROTOCOL is {protocol}: "
            f"it takes {' or '.join(sorted(SASL))}."
        )
    yield from _credential_troubles(settings)


def _credential_troubles(settings: Settings) -> Iterator[str]:
    mechanism = settings.kafka_sasl_mechanism
    credentials = {"PISTA_KAFKA_USERNAME": settings.kafka_username, "PISTA_KAFKA_PASSWORD": settings.kafka_password}
    for name, value in credentials.items():
        if mechanism is SaslMechanism.SCRAM and not value:
            yield f"PISTA_KAFKA_SASL_MECHANISM is {mechanism}, but {name} is not set."
        if mechanism is not SaslMechanism.SCRAM and value:
            yield f"{name} is set, but PISTA_KAFKA_SASL_MECHANISM is not {SaslMechanism.SCRAM}, which alone takes it."
    if mechanism is SaslMechanism.MSK_IAM:
        if settings.kafka_security_protocol is not KafkaProtocol.SASL_SSL:
            yield f"PISTA_KAFKA_SASL_MECHANISM is {mechanism}: its tokens are sent over SASL_SSL only."
        if importlib.util.find_spec("aws_msk_iam_sasl_signer") is None:
            yield f"PISTA_KAFKA_SASL_MECHANISM is {mechanism}, which takes the packages of pista[aws]."
        elif not _region(settings):
            yield f"PISTA_KAFKA_SASL_MECHANISM is {mechanism}, but neither PISTA_AWS_REGION nor AWS_REGION says where."


def _region(settings: Settings) -> str:
    if settings.aws_region:
        return settings.aws_region
    from boto3 import Session

    return Session().region_name or ""


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that any kafka-python client takes.

    Raises:
        KafkaNotConfiguredError: a setting is missing, or contradicts another.
    """
    return connection(settings).for_kafka_python()


def confluent_options(settings: Settings) -> dict[str, Any]:
    """The same connection as properties of librdkafka, which confluent-kafka takes.

    Raises:
        KafkaNotConfiguredError: a setting is missing, or contradicts another.
    """
    return connection(settings).for_confluent()


def servers(options: Mapping[str, Any]) -> list[str]:
    """The addresses in a kafka-python client's options, which may be a text or a list."""
    given = options["bootstrap_servers"]
    return given.split(",") if isinstance(given, str) else list(given)


@contextmanager
def access_errors(options: Mapping[str, Any]) -> Iterator[None]:
    """Around calls of kafka-python: one error for every way of not being let in.

    Raises:
        AccessError: user, certificate, token or permission is not what the broker takes.
    """
    try:
        yield
    except (*REFUSED, AccessError) as error:
        raise AccessError(f"Kafka at {','.join(servers(options))}: {error}") from error
