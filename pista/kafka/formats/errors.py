"""What can be wrong: with one record, with the registry for a while, with the registry for good."""

from enum import StrEnum


class Code(StrEnum):
    """Why a value or key cannot become JSON; the value is the reason of quarantine."""

    UNKNOWN_FRAMING = "unknown_framing"  # what stands before the payload names no schema
    UNKNOWN_SCHEMA = "unknown_schema"  # the registry has no schema of that name
    UNDECODABLE = "undecodable"  # the payload is not of its schema, or the schema cannot be used


class FormatError(Exception):
    """One value or key cannot become JSON: the record belongs in quarantine, its neighbours load."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail  # a sentence with the value and what would be valid


class RegistryUnavailableError(Exception):
    """The schema registry did not answer. Transient: the records are as good as ever, try again later."""


class RegistryRefusedError(Exception):
    """The schema registry answered that it will not serve us: credentials, permissions, not a registry. Lasting."""


class RegistryNotConfiguredError(Exception):
    """A dataset needs a schema registry, and the settings or the installation do not suffice to reach it."""
