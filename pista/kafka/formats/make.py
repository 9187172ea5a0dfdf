"""From a dataset and the settings to what makes its messages plain."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import orjson
from pydantic import SecretStr

from pista.contracts.dataset import Dataset, Framing, Origin
from pista.kafka.formats.confluent import ConfluentRegistry
from pista.kafka.formats.decoders import Decoders
from pista.kafka.formats.errors import FormatError, RegistryNotConfiguredError
from pista.kafka.formats.framing import ID_BYTES, KEY_HEADER, VALUE_HEADER, is_framed, schema_header, unframe
from pista.kafka.formats.glue import GlueRegistry
from pista.kafka.formats.schemas import SchemaType
from pista.kafka.records import Records
from pista.settings import Settings

_making = threading.Lock()


@dataclass(slots=True)
class Plain:
    """Records' values as JSON and keys as JSON or text, and what could not become so."""

    values: list[bytes | None]
    keys: list[bytes | None]
    errors: dict[int, FormatError] = field(default_factory=dict)  # by place of the record


class Format:
    """Makes the messages of one dataset plain; which language they are in, the registry says of each schema."""

    def __init__(self, dataset: Dataset, decoders: Decoders, value_max_bytes: int) -> None:
        self._framing = dataset.framing
        self._decoders = decoders
        self._limit = value_max_bytes
        # elsewhere a key that cannot be read is nobody's loss, for nothing reads it
        self._reads_keys = any(
            column.origin is Origin.KEY or column.pii is not None for column in (*dataset.columns, *dataset.dropped)
        ) or any(condition.origin is Origin.KEY for condition in dataset.where)

    def plain(self, records: Records) -> Plain:
        """The records' values and keys as JSON; a key that is a text or number alone is that text.

        What no frame is for stays as it is: null and empty values, values larger than the limit, which the decoder
        refuses by these properties, and keys without a frame. A key that cannot be read stays as it is too, unless
        the record is a deletion or the contract reads the key.

        Raises:
            RegistryUnavailableError: the registry did not answer, or not in time; the same call may succeed later.
            RegistryRefusedError: the registry will not answer.
        """
        plain = Plain([None] * len(records), list(records.keys))
        headers = records.headers or [()] * len(records)
        for index, (value, key, named) in enumerate(zip(records.values, records.keys, headers, strict=True)):
            try:
                if value is not None:
                    plain.values[index] = self._value(value, schema_header(named, VALUE_HEADER) if named else None)
            except FormatError as error:
                plain.errors[index] = error
                continue
            try:
                if key is not None:
                    plain.keys[index] = self._key(key, schema_header(named, KEY_HEADER) if named else None)
            except FormatError as error:
                if self._reads_keys or value is None:
                    plain.errors[index] = FormatError(error.code, f"the key: {error.detail}")
        return plain

    def language(self, records: Records) -> SchemaType | None:
        """The language of the first schema that a value names and the registry has; None if there is none.

        Raises:
            RegistryUnavailableError: the registry did not answer, or not in time; the same call may succeed later.
            RegistryRefusedError: the registry will not answer.
        """
        headers = records.headers or [()] * len(records)
        seen: set[bytes] = set()
        for value, named in zip(records.values, headers, strict=True):
            if value is None:
                continue
            with suppress(FormatError):  # of a record that has no readable frame, or an unknown schema
                schema = unframe(self._framing, value, schema_header(named, VALUE_HEADER), self._limit).schema
                if schema not in seen:
                    seen.add(schema)
                    return self._decoders.language(schema)
        return None

    def _value(self, value: bytes, header: bytes | None) -> bytes:
        if len(value) > self._limit or (not value and header is None):
            return value
        return self._decoded(value, header)

    def _key(self, key: bytes, header: bytes | None) -> bytes | None:
        if header is None and not is_framed(self._framing, key):
            return key
        document = self._decoded(key, header)
        if document.startswith(b'"'):
            return str(orjson.loads(document)).encode()
        return None if document == b"null" else document

    def _decoded(self, message: bytes, header: bytes | None) -> bytes:
        known = self._decoders.known
        schema, body, start = message[:ID_BYTES], message, ID_BYTES  # nearly all frames are such
        decode = known.get(schema) if header is None else None
        if decode is None:
            schema, body, start = unframe(self._framing, message, header, self._limit)
            decode = known.get(schema) or self._decoders.get(schema)
        try:
            return decode(body, start)
        except FormatError as error:
            raise FormatError(error.code, f"{error.detail} ({self._decoders.describe(schema)})") from None


def make_format(dataset: Dataset, settings: Settings) -> Format | None:
    """What makes the dataset's messages plain; None where they are plain JSON already.

    Raises:
        RegistryNotConfiguredError: the settings or the installation do not suffice to reach the registry.
    """
    if dataset.framing is Framing.NONE:
        return None
    with _making:  # a cache lets threads that miss it make one each
        if dataset.framing is Framing.GLUE:
            decoders = _glue(settings.aws_region)
        else:
            decoders = _confluent(
                settings.schema_registry_url,
                settings.schema_registry_user,
                settings.schema_registry_password,
                settings.schema_registry_token,
                settings.schema_registry_ca,
            )
    return Format(dataset, decoders, settings.value_max_bytes)


@lru_cache
def _confluent(
    url: str | None, user: str | None, password: SecretStr | None, token: SecretStr | None, ca: Path | None
) -> Decoders:
    """The decoders of that registry, the same ones for the whole process."""
    if not url:
        raise RegistryNotConfiguredError(
            "a dataset's messages name schemas of a registry, and PISTA_SCHEMA_REGISTRY_URL is not set. "
            "Give it as http(s)://host[:port]."
        )
    return Decoders(ConfluentRegistry(url, user, password, token, ca))


@lru_cache
def _glue(region: str | None) -> Decoders:
    """The decoders of that region's registries, the same ones for the whole process."""
    return Decoders(GlueRegistry(region))
