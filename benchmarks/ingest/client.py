"""What every contender of the comparison says of itself."""

from pathlib import Path
from typing import Protocol

from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import Database
from benchmarks.ingest.topic import Topic


class PeerMissingError(Exception):
    """A peer cannot be had on this machine; the text says why."""


class Client(Protocol):
    """A program that loads a topic, or what stands for it, into a table."""

    @property
    def name(self) -> str:
        """For the table."""

    @property
    def configuration(self) -> str:
        """How it is set up, for the table."""

    @property
    def kind(self) -> str:
        """`pista`, `peer` or `floor`."""

    @property
    def relation(self) -> str:
        """Where its rows are: a table, or a query in brackets."""

    def prepare(self, home: Path) -> None:
        """Fetch what it needs.

        Raises:
            PeerMissingError: it cannot be had.
        """

    def job(self, database: Database, topic: Topic) -> Job:
        """The program that loads the topic into the database, which is empty."""
