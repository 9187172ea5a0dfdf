"""Schemas become functions once a process: what a frame names never changes its meaning."""

import threading
import time
from collections.abc import Callable

from pista.kafka.formats.avro import compile_avro
from pista.kafka.formats.documents import strip_frame
from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.protobuf import compile_protobuf
from pista.kafka.formats.schemas import Registry, Schema, SchemaType

UNKNOWN_SECONDS = 10.0  # what the registry does not know is asked for again after this long
UNKNOWN_MAX = 10_000  # names kept as unknown; damaged frames name any

Decode = Callable[[bytes, int], bytes]  # a body and where its payload starts, to JSON


class Decoders:
    """The decoders of one registry's schemas; may be used from several threads."""

    def __init__(self, registry: Registry) -> None:
        self.known: dict[bytes, Decode] = {}
        self.describe = registry.describe
        self._registry = registry
        self._unknown: dict[bytes, tuple[float, Code, str]] = {}
        self._lock = threading.Lock()

    def get(self, schema: bytes) -> Decode:
        """What decodes payloads of that schema.

        Raises:
            FormatError: there is no such schema, or it cannot be used.
            RegistryUnavailableError: the registry did not answer, or not in time.
            RegistryRefusedError: the registry will not answer.
        """
        with self._lock:  # so that threads that miss the same schema ask once
            if schema in self.known:
                return self.known[schema]
            if schema in self._unknown:
                until, code, detail = self._unknown[schema]
                if time.monotonic() < until:
                    raise FormatError(code, detail)
            try:
                self.known[schema] = decode = _compile(self._registry.fetch(schema))
            except FormatError as error:
                detail = f"{self.describe(schema)}: {error.detail}"
                if len(self._unknown) >= UNKNOWN_MAX:
                    self._unknown.clear()
                self._unknown[schema] = (time.monotonic() + UNKNOWN_SECONDS, error.code, detail)
                raise FormatError(error.code, detail) from None
            return decode

    def language(self, schema: bytes) -> SchemaType:
        """Which language that schema is in; errors are those of ``get``."""
        return self._registry.fetch(schema).type


def _compile(schema: Schema) -> Decode:
    match schema.type:
        case SchemaType.AVRO:
            return compile_avro(schema)
        case SchemaType.PROTOBUF:
            return compile_protobuf(schema)
        case SchemaType.JSON:
            return strip_frame()
