"""A registry that speaks Confluent's REST API: Confluent's own, Karapace, Apicurio, Redpanda."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import orjson
from pydantic import SecretStr

from pista.kafka.formats.errors import (
    Code,
    FormatError,
    RegistryNotConfiguredError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from pista.kafka.formats.schemas import Schema, SchemaType

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.25  # doubles with each attempt
TIMEOUT_SECONDS = 5.0  # of each attempt: to connect, and to the end of the answer
ANSWER_MAX_BYTES = 16 << 20
ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"
TRANSIENT = {408, 425, 429}  # and all from 500 on
NOT_FOUND = range(40401, 40500)  # error codes of a registry that knows the path and not the thing


class ConfluentRegistry:
    """One registry; connections are kept and may be used from several threads."""

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: SecretStr | None = None,
        token: SecretStr | None = None,
        ca: Path | None = None,
    ) -> None:
        address = httpx.URL(url)
        if address.userinfo:
            raise RegistryNotConfiguredError(
                "PISTA_SCHEMA_REGISTRY_URL holds credentials. Give them as PISTA_SCHEMA_REGISTRY_USER and "
                "PISTA_SCHEMA_REGISTRY_PASSWORD, or as PISTA_SCHEMA_REGISTRY_TOKEN."
            )
        if address.scheme not in ("http", "https") or not address.host:
            raise RegistryNotConfiguredError(f"PISTA_SCHEMA_REGISTRY_URL is {url}; valid: http(s)://host[:port][/path]")
        try:
            verify = ssl.create_default_context(cafile=ca) if ca else True
        except OSError as error:
            raise RegistryNotConfiguredError(
                f"PISTA_SCHEMA_REGISTRY_CA is {ca}, which cannot be read as certificates: {error.strerror or error}"
            ) from None
        headers = {"Accept": ACCEPT}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._url = str(address)
        self._client = httpx.Client(
            base_url=address,
            headers=headers,
            auth=(user, password.get_secret_value() if password else "") if user else None,
            verify=verify,
            timeout=TIMEOUT_SECONDS,
        )

    def describe(self, schema: bytes) -> str:
        """What sentences call that schema."""
        if schema[0] == 0:
            return f"schema {int.from_bytes(schema[1:], 'big')}"
        return f"schema {UUID(bytes=schema[1:])}"

    def fetch(self, schema: bytes) -> Schema:
        """The schema of that frame, with what it refers to; see ``Registry``."""
        if schema[0] == 0:
            path = f"schemas/ids/{int.from_bytes(schema[1:], 'big')}"
        else:
            path = f"schemas/guids/{UUID(bytes=schema[1:])}"
        return self._schema(self._get(path), {}, ())

    def _schema(self, answer: dict[str, Any], known: dict[str, Schema], above: tuple[str, ...]) -> Schema:
        """The schema of an answer; ``known`` and ``above`` are paths of references read and being read."""
        try:
            kind, text = SchemaType(answer.get("schemaType", "AVRO")), str(answer["schema"])
            references = [
                (str(r["name"]), str(r["subject"]), int(r["version"])) for r in answer.get("references") or ()
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                Code.UNDECODABLE, f"the registry's answer is no schema that can be used: {type(error).__name__} {error}"
            ) from None
        found = []
        for name, subject, version in references:
            # a reference to a version that was deleted since still holds
            path = f"subjects/{quote(subject, safe='')}/versions/{version}?deleted=true"
            if path in above:
                raise FormatError(Code.UNDECODABLE, f"its schema refers to itself by way of {subject}")
            if path not in known:
                known[path] = self._schema(self._get(path), known, (*above, path))
            found.append((name, known[path]))
        return Schema(kind, text, tuple(found))

    def _get(self, path: str) -> dict[str, Any]:
        trouble = ""
        for pause in _pauses():
            time.sleep(pause)
            try:
                status, body = self._ask(path)
            except httpx.RequestError as error:
                # the text of an error may hold an address, never credentials: they are in headers
                trouble = f"{type(error).__name__}: {error}".rstrip(": ")
                continue
            if status < 500 and status not in TRANSIENT:
                return self._answer(path, status, body)
            trouble = f"HTTP {status}"
        raise RegistryUnavailableError(
            f"the schema registry at {self._url} did not answer {path} in {ATTEMPTS} attempts; the last one: {trouble}"
        )

    def _ask(self, path: str) -> tuple[int, bytes]:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        body = bytearray()
        with self._client.stream("GET", path) as response:
            # httpx bounds each read, not their sum
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"the answer was not complete after {TIMEOUT_SECONDS:.0f} s")
                if len(body) > ANSWER_MAX_BYTES:
                    raise RegistryRefusedError(
                        f"the schema registry's answer to {path} is larger than {ANSWER_MAX_BYTES} bytes"
                    )
            return response.status_code, bytes(body)

    def _answer(self, path: str, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if isinstance(answer, dict):
            if status == httpx.codes.OK:
                return answer
            if status == httpx.codes.NOT_FOUND and answer.get("error_code") in NOT_FOUND:
                raise FormatError(Code.UNKNOWN_SCHEMA, f"the registry has no {path.partition('?')[0]}")
        hint = {
            401: "; are PISTA_SCHEMA_REGISTRY_USER and _PASSWORD, or _TOKEN, right?",
            403: "; this user may not read schemas",
            404: "; is PISTA_SCHEMA_REGISTRY_URL right, and can the registry look up by GUID where topics use them?",
        }.get(status, "")
        raise RegistryRefusedError(f"the schema registry at {self._url} answered {path} with HTTP {status}{hint}")


def _pauses() -> Iterator[float]:
    """Seconds to wait before each attempt."""
    yield 0
    for attempt in range(ATTEMPTS - 1):
        yield FIRST_PAUSE_SECONDS * 2**attempt
