"""A real broker that listens with TLS, client certificates, SCRAM and OAUTHBEARER, and what clients need to get in."""

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pista.local import kafka, processes
from pista.local.state import free_port

USER, PASSWORD = "pista", secrets.token_hex(8)
LISTENERS = ("PLAIN", "TLS", "MUTUAL", "SCRAM", "OAUTH")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SCRAM:SASL_SSL,OAUTH:SASL_SSL
log.dirs={home}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
ssl.keystore.type=PEM
ssl.keystore.location={home}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={home}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
"""


@dataclass(frozen=True)
class SecureKafka:
    """A broker's addresses by listener, and files of certificates."""

    addresses: dict[str, str]
    ca_file: Path
    other_ca_file: Path  # of an authority that did not sign the broker's certificate
    cert_file: Path
    key_file: Path
    other_cert_file: Path  # signed by that other authority
    other_key_file: Path


def unsecured_token(subject: str = USER, seconds: float = 3600.0) -> tuple[str, float]:
    """A JSON web token without a signature, which Kafka's validator for development takes; and when it expires."""
    expires = time.time() + seconds
    parts: list[dict[str, Any]] = [{"alg": "none"}, {"sub": subject, "iat": time.time() - 1, "exp": expires}]
    return ".".join(urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts) + ".", expires


def _write_pair(certificate: trustme.LeafCert, cert_file: Path, key_file: Path) -> None:
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    cert_file.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


@contextmanager
def secure_kafka(home: Path) -> Iterator[SecureKafka]:
    """A broker under ``home`` until the block ends."""
    folder = home / "kafka"
    folder.mkdir(parents=True)
    authority, other = trustme.CA(), trustme.CA()
    found = SecureKafka(
        {name: f"127.0.0.1:{free_port()}" for name in LISTENERS},
        *(folder / name for name in ("ca.pem", "other.pem", "client.crt", "client.key", "odd.crt", "odd.key")),
    )
    authority.cert_pem.write_to_path(found.ca_file)
    other.cert_pem.write_to_path(found.other_ca_file)
    _write_pair(authority.issue_cert("127.0.0.1"), folder / "broker.crt", folder / "broker.key")
    (folder / "broker.pem").write_bytes((folder / "broker.key").read_bytes() + (folder / "broker.crt").read_bytes())
    _write_pair(authority.issue_cert("pista@example.org"), found.cert_file, found.key_file)
    _write_pair(other.issue_cert("pista@example.org"), found.other_cert_file, found.other_key_file)
    properties = folder / "server.properties"
    listeners = ",".join(f"{name}://{address}" for name, address in found.addresses.items())
    properties.write_text(PROPERTIES.format(listeners=listeners, controller=free_port(), home=folder))
    scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    cluster = "a" + secrets.token_urlsafe(16)[:21]
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties, "--add-scram", scram)
    processes.run(kafka.KAFKA, kafka._java(*tool), home=home, directory=folder)
    child = kafka.launch(home, properties)
    try:
        kafka.wait_ready(child, int(found.addresses["PLAIN"].rpartition(":")[2]))
        yield found
    finally:
        processes.stop(home, {kafka.KAFKA}, [child])
