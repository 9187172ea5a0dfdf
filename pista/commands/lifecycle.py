"""`pista dataset load | rebuild | drop` and `pista erase`: the life of a dataset, from its history to its end."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg

from pista.contracts.dataset import Dataset
from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError, did_you_mean
from pista.ingest.configuration import IngestNotConfiguredError, ingest_dsn
from pista.ingest.fileload import load_file
from pista.ingest.files import FileError
from pista.ingest.ledger import LostRaceError
from pista.ingest.load import BatchReport, ContractChangedError
from pista.local.environment import adopt_running_stack
from pista.settings import Settings
from pista.warehouse.connection import connect


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load(name: str, files: tuple[Path, ...]) -> None:
    """Load history from FILES (NDJSON, CSV or Parquet, by suffix); records of the topic win over it."""
    settings = adopt_running_stack()
    dataset = _source(settings, name)
    with _troubles(), connect(ingest_dsn(settings), f"pista load {name}") as connection:
        for file in files:
            try:
                report = load_file(
                    connection, dataset, settings, file, run_id=f"load-{uuid.uuid4()}", on_batch=_say_progress
                )
            except (FileError, OSError) as error:
                raise click.ClickException(str(error)) from None
            if report.already:
                click.echo(f"{file} was loaded before, as load {report.number}: nothing to do.")
                continue
            click.echo(
                f"{file}: load {report.number} has {report.records} records, {report.loaded} loaded, "
                f"{report.quarantined} in quarantine."
            )


def _say_progress(report: BatchReport) -> None:
    click.echo(
        f"  version {report.version}: {report.records} records, {report.inserted} rows inserted, "
        f"{report.updated} updated, {report.quarantined} records in quarantine",
        err=True,
    )


def _source(settings: Settings, name: str) -> Dataset:
    """The source dataset of that name."""
    try:
        datasets = load_datasets(settings.datasets_dir)
    except ContractError as error:
        raise click.ClickException(str(error)) from None
    dataset = datasets.get(name)
    if dataset is None or not dataset.is_source:
        what = "a mart, which is built from its inputs" if dataset else f"no dataset in {settings.datasets_dir}"
        sources = sorted(d.name for d in datasets.values() if d.is_source)
        raise click.ClickException(f"{name} is {what}; {did_you_mean(name, sources)}")
    return dataset


@contextmanager
def _troubles() -> Iterator[None]:
    """What can be wrong around every command, as a sentence."""
    try:
        yield
    except (IngestNotConfiguredError, LostRaceError) as error:
        raise click.ClickException(str(error)) from None
    except ContractChangedError as error:
        raise click.ClickException(f"{error}; run `pista apply` first") from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error).strip()}") from None
