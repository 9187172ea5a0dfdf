"""Schemas of a registry, and the one thing asked of it: the schema of a name."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class SchemaType(StrEnum):
    """Languages of schemas, as registries call them."""

    AVRO = "AVRO"
    PROTOBUF = "PROTOBUF"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as it was registered."""

    type: SchemaType
    text: str
    references: tuple[tuple[str, "Schema"], ...] = ()  # name by which this text imports it, and the schema
    # Glue numbers the messages of a Protobuf file its own way, see ``protobuf``
    glue: bool = False

    def imports(self) -> Iterator[tuple[str, "Schema"]]:
        """All schemas that this one needs, those first that others need; some more than once."""
        for name, schema in self.references:
            yield from schema.imports()
            yield name, schema


class Registry(Protocol):
    """Where schemas are; every call asks anew."""

    def fetch(self, schema: bytes) -> Schema:
        """The schema of a name as frames write it, with what it refers to.

        Raises:
            FormatError: the registry has no such schema.
            RegistryUnavailableError: the registry did not answer, or not in time.
            RegistryRefusedError: the registry will not answer.
        """

    def describe(self, schema: bytes) -> str:
        """What sentences call that schema."""
