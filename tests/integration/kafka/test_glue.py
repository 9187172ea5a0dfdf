"""AWS Glue's schema registry, over HTTP: values of every language, and what AWS says when it does not answer."""

import io
import json
import sys
import threading
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastavro import parse_schema, schemaless_writer

from pista.contracts.dataset import Column, Dataset, Framing, Kind, LogicalType
from pista.kafka.formats import glue as glue_module
from pista.kafka.formats import make
from pista.kafka.formats.errors import RegistryNotConfiguredError, RegistryRefusedError, RegistryUnavailableError
from pista.kafka.formats.glue import GlueRegistry
from pista.kafka.formats.make import Plain, make_format
from pista.kafka.records import Record, Records
from pista.settings import Settings

COLUMN = Column("id", "id", LogicalType.STRING, "text", required=True)
DATASET = Dataset("legs", "1.0.0", Kind.UPSERT, (COLUMN,), ("id",), topic="legs", framing=Framing.GLUE)
LEG = {"type": "record", "name": "Leg", "fields": [{"name": "id", "type": "string"}]}
PROTO = 'syntax = "proto3"; message Other { int32 n = 1; } message Leg { string id = 1; }'
SETTINGS = Settings(aws_region="eu-west-1", value_max_bytes=1000)


@dataclass
class GlueServer:
    """AWS Glue's answers to GetSchemaVersion, over HTTP as boto3 asks for them."""

    versions: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> language and text
    faults: list[tuple[int, str]] = field(default_factory=list)  # status and code of the next answers
    asked: list[str] = field(default_factory=list)

    def register(self, language: str, text: str) -> bytes:
        version = uuid.uuid4()
        self.versions[str(version)] = (language, text)
        return version.bytes

    def answer(self, target: str, request: dict[str, str]) -> tuple[int, dict[str, str]]:
        assert target == "AWSGlue.GetSchemaVersion"
        version = request["SchemaVersionId"]
        self.asked.append(version)
        if self.faults:
            status, code = self.faults.pop(0)
            return status, {"__type": code, "Message": "trouble"}
        if version not in self.versions:
            return 400, {"__type": "EntityNotFoundException", "Message": "Schema version is not found."}
        language, text = self.versions[version]
        found = {"SchemaVersionId": version, "DataFormat": language, "SchemaDefinition": text, "Status": "AVAILABLE"}
        return 200, found


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Iterator[GlueServer]:
    """A server that the test fills; nothing of the process knows it yet."""
    glue = GlueServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = glue.answer(self.headers["X-Amz-Target"], request)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test asks ``asked``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "sesame")
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", f"http://127.0.0.1:{server.server_port}")
        make._glue.cache_clear()
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield glue
        finally:
            make._glue.cache_clear()
            server.shutdown()
            serving.join(10)


def plain(*messages: tuple[bytes | None, bytes | None]) -> Plain:
    made = make_format(DATASET, SETTINGS)
    assert made is not None
    return made.plain(Records.of([Record(0, i, 1, key, value) for i, (key, value) in enumerate(messages)]))


def test_values_and_keys_of_every_language_become_json(glue: GlueServer) -> None:
    leg = glue.register("AVRO", json.dumps(LEG))
    proto = glue.register("PROTOBUF", PROTO)
    document = glue.register(
        "JSON", json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"})
    )
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(LEG), {"id": "a"})
    found = plain(
        (b"plain", b"\x03\x00" + leg + buffer.getvalue()),
        (b"\x03\x00" + leg + buffer.getvalue(), b"\x03\x05" + leg + zlib.compress(buffer.getvalue())),
        (None, b"\x03\x00" + proto + b"\x00\x0a\x01a"),
        (None, b"\x03\x05" + proto + zlib.compress(b"\x01\x08\x05")),
        (None, b"\x03\x00" + document + b'{"a": 1}'),
    )
    assert found.errors == {}
    assert found.values == [b'{"id":"a"}', b'{"id":"a"}', b'{"id":"a"}', b'{"n":5}', b'{"a": 1}']
    assert found.keys == [b"plain", b'{"id":"a"}', None, None, None]


def test_bad_records_have_their_reasons_and_their_neighbours_load(glue: GlueServer) -> None:
    leg = glue.register("AVRO", json.dumps(LEG))
    no_version = uuid.UUID(int=7)
    found = plain(
        (None, b"\x03\x00" + leg + b"\x02a"),
        (None, b"\x00\x00\x00\x00\x07\x02a"),
        (None, b"\x03\x00" + no_version.bytes),
        (None, b"\x03\x05" + leg + zlib.compress(bytes(5000))),
        (None, b"\x03\x00" + leg + b"\x04a"),
    )
    assert found.values[0] == b'{"id":"a"}'
    version = uuid.UUID(bytes=leg)
    valid = "0x03, 0x00 or 0x05, and the 16 bytes of a schema version id, then the payload"
    assert {index: (error.code.value, error.detail) for index, error in found.errors.items()} == {
        1: ("unknown_framing", f"the message starts with 0x0000 and has 7 bytes; valid: {valid}"),
        2: ("unknown_schema", f"schema version {no_version}: AWS Glue has no schema version {no_version}"),
        3: ("undecodable", "the payload inflates to more than 1000 bytes, which is the limit"),
        4: ("undecodable", f"id: the payload is cut off (schema version {version})"),
    }


def test_a_version_is_asked_for_once_and_again_after_a_fault(glue: GlueServer) -> None:
    leg = glue.register("AVRO", json.dumps(LEG))
    glue.faults = [(500, "InternalServiceException")]
    for _ in range(3):
        assert plain((None, b"\x03\x00" + leg + b"\x02a")).values == [b'{"id":"a"}']
    assert glue.asked == [str(uuid.UUID(bytes=leg))] * 2


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (500, "InternalServiceException", RegistryUnavailableError),
        (400, "ThrottlingException", RegistryUnavailableError),
        (400, "AccessDeniedException", RegistryRefusedError),
        (400, "ExpiredTokenException", RegistryRefusedError),
    ],
)
def test_aws_that_does_not_serve_us_is_no_fault_of_the_records(
    glue: GlueServer, monkeypatch: pytest.MonkeyPatch, status: int, code: str, raised: type[Exception]
) -> None:
    monkeypatch.setattr(glue_module, "ATTEMPTS", 1)
    glue.faults = [(status, code)]
    with pytest.raises(raised, match=code) as trouble:
        plain((None, b"\x03\x00" + bytes(16)))
    assert "sesame" not in str(trouble.value)


def test_nobody_at_the_address_is_a_transient_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:1")
    monkeypatch.setattr(glue_module, "ATTEMPTS", 1)
    with pytest.raises(RegistryUnavailableError, match="EndpointConnectionError"):
        GlueRegistry("eu-west-1").fetch(bytes(16))


def test_without_credentials_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(RegistryRefusedError, match="no AWS credentials"):
        GlueRegistry("eu-west-1").fetch(bytes(16))


def test_without_a_region_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(RegistryNotConfiguredError, match="PISTA_AWS_REGION"):
        GlueRegistry()


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(RegistryNotConfiguredError, match=r"pip install 'pista\[aws\]'"):
        GlueRegistry("eu-west-1")
