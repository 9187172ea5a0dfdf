"""The settings become one connection in the words of both clients, or a sentence that says what to change."""

from pathlib import Path
from typing import Any

import pytest

from pista.kafka.client import KafkaNotConfiguredError, client_options, confluent_options, connection
from pista.kafka.tokens import TokenSource
from pista.settings import Settings

SCRAM = {
    "kafka_bootstrap": "a:9096,b:9096",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_username": "pista",
    "kafka_password": "secret",
}
IAM = {
    "kafka_bootstrap": "a:9098",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "AWS_MSK_IAM",
    "aws_region": "eu-west-1",
}


def test_plaintext_takes_nothing_but_the_address() -> None:
    settings = Settings(kafka_bootstrap="a:9092,b:9092")
    assert client_options(settings) == {"bootstrap_servers": ["a:9092", "b:9092"]}
    assert confluent_options(settings) == {"bootstrap.servers": "a:9092,b:9092"}


def test_scram_in_the_words_of_both_clients() -> None:
    options = client_options(Settings(**SCRAM))
    assert {name: options[name] for name in options if name.startswith("sasl")} == {
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "pista",
        "sasl_plain_password": "secret",
    }
    assert options["ssl_context"].check_hostname
    assert confluent_options(Settings(**SCRAM)) == {
        "bootstrap.servers": "a:9096,b:9096",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "pista",
        "sasl.password": "secret",
    }


def test_all_clients_of_a_process_share_one_source_of_iam_tokens() -> None:
    source = client_options(Settings(**IAM))["sasl_oauth_token_provider"]
    assert isinstance(source, TokenSource)
    assert confluent_options(Settings(**IAM))["oauth_cb"] == source.with_expiry
    assert client_options(Settings(**{**IAM, "aws_region": "eu-west-2"}))["sasl_oauth_token_provider"] is not source


def test_no_secret_shows_in_the_connection() -> None:
    assert "secret" not in repr(connection(Settings(**SCRAM)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kafka_bootstrap": None}, "PISTA_KAFKA_BOOTSTRAP is not set"),
        ({"kafka_sasl_mechanism": None}, "PISTA_KAFKA_SASL_MECHANISM is not set: say SCRAM-SHA-512 or AWS_MSK_IAM"),
        ({"kafka_security_protocol": "SSL"}, "is SCRAM-SHA-512, but PISTA_KAFKA_SECURITY_PROTOCOL is SSL"),
        ({"kafka_username": None}, "PISTA_KAFKA_USERNAME is not set"),
        ({"kafka_password": None}, "PISTA_KAFKA_PASSWORD is not set"),
        ({"kafka_ca_file": Path("/nowhere/ca.pem")}, "PISTA_KAFKA_CA_FILE is /nowhere/ca.pem, and there is no such"),
        ({"kafka_cert_file": Path(__file__)}, "PISTA_KAFKA_CERT_FILE is set without PISTA_KAFKA_KEY_FILE"),
        ({"kafka_key_file": Path(__file__)}, "PISTA_KAFKA_KEY_FILE is set without PISTA_KAFKA_CERT_FILE"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": Path(__file__)},
            "PISTA_KAFKA_CA_FILE is set, but PISTA_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT",
        ),
        (IAM, "PISTA_KAFKA_USERNAME is set, but PISTA_KAFKA_SASL_MECHANISM is not SCRAM-SHA-512"),
        (
            {**IAM, "kafka_username": None, "kafka_password": None, "kafka_security_protocol": "SASL_PLAINTEXT"},
            "its tokens are sent over SASL_SSL only",
        ),
        (
            {**IAM, "kafka_username": None, "kafka_password": None, "aws_region": None},
            "neither PISTA_AWS_REGION nor AWS_REGION says where",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_a_sentence(
    changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KafkaNotConfiguredError, match=words) as caught:
        client_options(Settings(**{**SCRAM, **changes}))
    assert "secret" not in str(caught.value)
