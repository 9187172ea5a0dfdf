"""Every environment variable that Pista reads, typed, in one place.

Values come from the environment only (prefix ``PISTA_``). ``pista up`` fills them in for the
processes it starts; in production the orchestrator does.
"""

from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaClient(StrEnum):
    """The library that reads topics."""

    AUTO = "auto"
    CONFLUENT = "confluent-kafka"
    PYTHON = "kafka-python"


class KafkaProtocol(StrEnum):
    """Kafka's names for how a listener is secured."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How a client proves who it is, besides by a certificate."""

    SCRAM = "SCRAM-SHA-512"
    MSK_IAM = "AWS_MSK_IAM"


class Settings(BaseSettings):
    """Configuration of one process; every field is the variable ``PISTA_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="PISTA_", frozen=True, extra="ignore")

    home: Path = Field(Path(".pista"), description="State of the local stack: data, logs, credentials.")
    datasets_dir: Path = Field(Path("datasets"), description="Folder of contracts and mart transforms.")

    postgres_dsn: SecretStr | None = Field(
        None,
        description="Administrator's connection to an external PostgreSQL 18. "
        "Unset: `pista up` starts the embedded one. Used by migrations only.",
    )
    ingest_dsn: SecretStr | None = Field(None, description="Connection as pista_ingest: drains, sensors, mart builds.")
    api_dsn: SecretStr | None = Field(None, description="Connection as pista_api: the HTTP layer, read only.")

    kafka_bootstrap: str | None = Field(
        None, description="host:port[,host:port] of an external Kafka. Unset: `pista up` starts the embedded one."
    )

    kafka_client: KafkaClient = Field(
        KafkaClient.AUTO,
        description="Library that reads topics: confluent-kafka, kafka-python, or auto for the first where installed.",
    )

    kafka_security_protocol: KafkaProtocol = Field(
        KafkaProtocol.PLAINTEXT,
        description="How Kafka's listener is secured: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL.",
    )
    kafka_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed Kafka's certificates. Unset: public ones."
    )
    kafka_cert_file: Path | None = Field(None, description="PEM file of this client's certificate, for mutual TLS.")
    kafka_key_file: Path | None = Field(None, description="PEM file of that certificate's private key.")
    kafka_sasl_mechanism: SaslMechanism | None = Field(
        None, description="SCRAM-SHA-512, or AWS_MSK_IAM for tokens of the process's AWS credentials."
    )
    kafka_username: str | None = Field(None, description="User name for SCRAM-SHA-512.")
    kafka_password: SecretStr | None = Field(None, description="Password of that user.")

    schema_registry_url: str | None = Field(
        None,
        description="Schema registry with Confluent's REST API: http(s)://host[:port], without credentials.",
    )
    schema_registry_user: str | None = Field(None, description="User name for the schema registry.")
    schema_registry_password: SecretStr | None = Field(None, description="Password of that user.")
    schema_registry_token: SecretStr | None = Field(
        None, description="Bearer token for the schema registry, instead of user and password."
    )
    schema_registry_ca: Path | None = Field(
        None, description="PEM file of the authority that signed the schema registry's certificate. Unset: public ones."
    )
    aws_region: str | None = Field(
        None,
        description="AWS region of the Glue schema registry and of MSK. Unset: that of AWS's own variables and files.",
    )

    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8000, description="Port the API listens on.", ge=0, le=65535)
    api_url: str | None = Field(None, description="Address third parties use, for links in the Dagster UI.")
    api_pool_size: int = Field(10, description="Most database connections of one API process.", gt=0)
    api_pool_wait_seconds: float = Field(2.0, description="A request waits this long for a connection, then 503.", gt=0)
    api_statement_seconds: float = Field(10.0, description="A statement of the API may take this long, then 504.", gt=0)
    api_cursor_secret: SecretStr | None = Field(
        None, description="Signs paging cursors; the same for all API processes. Unset: made from the DSN's password."
    )
    dagster_port: int = Field(3000, description="Port of the Dagster UI.", ge=0, le=65535)

    pii_secret: SecretStr | None = Field(
        None,
        description="Key of the hashes that stand for personal values (`pii: hash`). "
        "With another one, known values get other hashes.",
    )

    batch_max_records: int = Field(50_000, description="Most records of one ingestion batch.", gt=0)
    batch_max_bytes: int = Field(32 << 20, description="Most bytes of values of one ingestion batch.", gt=0)
    value_max_bytes: int = Field(1 << 20, description="A larger message value is quarantined.", gt=0)
    quarantine_retention_days: int = Field(
        90, description="Days after which maintenance deletes records from quarantine, resolved or not.", gt=0
    )
    drain_idle_seconds: float = Field(30.0, description="A drain run ends after this long without new records.", gt=0)
    drain_max_seconds: float = Field(3600.0, description="A drain run ends after this long in all.", gt=0)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
