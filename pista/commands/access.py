"""What commands of operators share: contracts, the connection of ingestion, and errors as sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
from kafka.errors import KafkaError
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError, did_you_mean
from pista.ingest.again import ReplayError
from pista.ingest.conditions import IngestCondition
from pista.ingest.configuration import IngestNotConfiguredError, ingest_dsn
from pista.ingest.ledger import LostRaceError
from pista.ingest.load import ContractChangedError
from pista.ingest.positions import MoveError
from pista.ingest.targets import TargetError
from pista.kafka.client import KafkaNotConfiguredError
from pista.kafka.formats.errors import RegistryNotConfiguredError, RegistryRefusedError, RegistryUnavailableError
from pista.kafka.topics import TopicUnreadableError
from pista.settings import Settings
from pista.warehouse.connection import connect

EXPECTED = (
    ContractError,
    ContractChangedError,
    IngestCondition,
    IngestNotConfiguredError,
    KafkaNotConfiguredError,
    MoveError,
    RegistryNotConfiguredError,
    RegistryRefusedError,
    RegistryUnavailableError,
    ReplayError,
    TargetError,
    TopicUnreadableError,
)


@contextmanager
def sentences(settings: Settings) -> Iterator[None]:
    """Say what went wrong as a sentence, without a traceback."""
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(str(error)) from None
    except LostRaceError as error:
        raise click.ClickException(
            f"{error}, and nothing was done. Look again; `pista dataset pause` keeps drains from moving it."
        ) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error).strip()}") from None


@contextmanager
def ingest_connection(settings: Settings, command: str) -> Iterator[Connection[TupleRow]]:
    """A connection as pista_ingest, named after the command."""
    with sentences(settings), connect(ingest_dsn(settings), f"pista {command}") as connection:
        yield connection


def contracts(settings: Settings) -> dict[str, Dataset]:
    """The datasets of the contracts' folder."""
    with sentences(settings):
        return load_datasets(settings.datasets_dir)


def dataset_named(settings: Settings, name: str, *, source: bool = False) -> Dataset:
    """The dataset of that name; a sentence that names the nearest where there is none."""
    found = contracts(settings)
    if name not in found:
        raise click.ClickException(f"no dataset is named {name}; {did_you_mean(name, sorted(found))}")
    if source and not found[name].is_source:
        raise click.ClickException(f"{name} is a mart: it has no topic, and no offsets")
    return found[name]
