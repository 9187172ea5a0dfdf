"""Quoting of identifiers and literals in generated SQL."""

from collections.abc import Iterable


def quote(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_all(names: Iterable[str], prefix: str = "") -> str:
    """Names as a comma-separated list of identifiers, each behind ``prefix`` (such as ``c.``)."""
    return ", ".join(prefix + quote(name) for name in names)


def literal(text: str) -> str:
    """Text as a SQL string literal."""
    escaped = text.replace("'", "''")
    return f"E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"


def curated(dataset: str) -> str:
    """The served table of a dataset."""
    return f"curated.{quote(dataset)}"


def raw(dataset: str) -> str:
    """The event log of a source dataset."""
    return f"raw.{quote(dataset)}"


def patches(dataset: str) -> str:
    """The partial events of a dataset of ``merge: patch`` that still decide something."""
    return f"patches.{quote(dataset)}"
