"""A schema registry that tests fill: Confluent's REST API on loopback.

Fixtures
    schema_registry      a registry of the test's own: ``url``, ``register(...)``, what was asked, and faults to come
    tls_schema_registry  the same over TLS, and the certificate of the private authority that signed its own
"""

import contextlib
import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trustme


@dataclass
class SchemaRegistry:
    """What the server has and does; ids count from 1, versions of a subject too."""

    url: str = ""
    asked: list[str] = field(default_factory=list)  # paths, in order
    faults: list[int] = field(default_factory=list)  # statuses of the next answers
    stalls: int = 0  # so many next answers come a byte at a time and never end
    authorization: str | None = None  # valid value of that header
    released: threading.Event = field(default_factory=threading.Event)
    _schemas: list[dict[str, Any]] = field(default_factory=list)
    _subjects: dict[str, list[int]] = field(default_factory=dict)

    def register(
        self,
        schema: object,
        kind: str = "AVRO",
        subject: str = "test-value",
        references: tuple[tuple[str, str, int], ...] = (),
    ) -> int:
        """The id of a schema; text stays as it is, anything else becomes JSON."""
        document: dict[str, Any] = {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
        document["guid"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {document['schema']}"))
        if kind != "AVRO":  # the registry leaves the default away
            document["schemaType"] = kind
        if references:
            document["references"] = [
                {"name": name, "subject": of, "version": version} for name, of, version in references
            ]
        self._schemas.append(document)
        self._subjects.setdefault(subject, []).append(len(self._schemas))
        return len(self._schemas)

    def guid(self, schema_id: int) -> bytes:
        return uuid.UUID(self._schemas[schema_id - 1]["guid"]).bytes

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        match path.partition("?")[0].strip("/").split("/"):
            case ["schemas", "ids", number] if 0 < int(number) <= len(self._schemas):
                return 200, self._schemas[int(number) - 1]
            case ["schemas", "guids", guid]:
                found = [schema for schema in self._schemas if schema["guid"] == guid]
                if found:
                    return 200, found[0]
            case ["subjects", subject, "versions", version]:
                ids = self._subjects.get(unquote(subject), [])
                if 0 < int(version) <= len(ids):
                    schema_id = ids[int(version) - 1]
                    return 200, {"subject": unquote(subject), "id": schema_id, **self._schemas[schema_id - 1]}
                return 404, {"error_code": 40402, "message": "Version not found."}
            case ["schemas", "ids", _]:
                pass
            case _:
                return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        return 404, {"error_code": 40403, "message": "Schema not found"}


@pytest.fixture
def schema_registry() -> Iterator[SchemaRegistry]:
    with serve() as registry:
        yield registry


@pytest.fixture
def tls_schema_registry(tmp_path: Path) -> Iterator[tuple[SchemaRegistry, Path]]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serve(authority.issue_cert("127.0.0.1")) as registry:
        yield registry, tmp_path / "ca.pem"


@contextlib.contextmanager
def serve(certificate: trustme.LeafCert | None = None) -> Iterator[SchemaRegistry]:
    """A running registry; over TLS if it has a certificate."""
    registry = SchemaRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.asked.append(self.path)
            if registry.stalls:
                registry.stalls -= 1
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client went away
                    while not registry.released.wait(0.02):
                        self.wfile.write(b" ")
                self.close_connection = True
                return
            if registry.faults:
                self._send(registry.faults.pop(0), b"<html>trouble</html>")
            elif registry.authorization and self.headers["Authorization"] != registry.authorization:
                self._send(401, b'{"error_code": 401, "message": "Unauthorized"}')
            else:
                status, document = registry.answer(self.path)
                self._send(status, json.dumps(document).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test asks ``asked``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        registry.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield registry
        finally:
            registry.released.set()
            server.shutdown()
            serving.join(10)
