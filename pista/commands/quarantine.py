"""`pista quarantine`: the records that could not be loaded."""

import uuid

import click
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.loading import load_datasets
from pista.ingest import again
from pista.ingest.configuration import IngestNotConfiguredError, ingest_dsn
from pista.ingest.quarantine import find, open_records
from pista.local.environment import adopt_running_stack
from pista.settings import Settings
from pista.warehouse.connection import connect


@click.group()
def quarantine() -> None:
    """List, show and retry records that could not be loaded."""


@quarantine.command("list")
@click.argument("dataset", required=False)
@click.option("--limit", default=50, show_default=True, help="Most records to list.")
def list_(dataset: str | None, limit: int) -> None:
    """Records in quarantine, oldest first: number, place, and what is wrong."""
    with _connection(adopt_running_stack()) as connection:
        lines = open_records(connection, dataset, limit)
    for line in lines:
        click.echo(
            f"{line.id}\t{line.dataset}\t{line.topic}/{line.partition}/{line.offset}\t{line.reason}\t{line.detail}"
        )
    if not lines:
        click.echo("No record is in quarantine.")


@quarantine.command()
@click.argument("number", type=int)
def show(number: int) -> None:
    """One record whole, by the number that `list` gives."""
    with _connection(adopt_running_stack()) as connection:
        line = find(connection, number)
    if line is None:
        raise click.ClickException(f"no record has the number {number}; `pista quarantine list` gives them")
    click.echo(f"dataset   {line.dataset}")
    click.echo(f"place     topic {line.topic}, partition {line.partition}, offset {line.offset}, epoch {line.epoch}")
    click.echo(f"produced  {line.timestamp.isoformat()}")
    click.echo(f"reason    {line.reason}: {line.detail}")
    click.echo(f"run       {line.run_id}, {line.quarantined_at.isoformat()}")
    click.echo(f"resolved  {line.resolved_at.isoformat() if line.resolved_at else 'no'}")
    click.echo(f"key       {line.key!r}")
    click.echo(f"value     {line.value!r}")


@quarantine.command()
@click.argument("dataset")
def retry(dataset: str) -> None:
    """Load the records of a dataset again, after its contract was mended."""
    settings = adopt_running_stack()
    datasets = load_datasets(settings.datasets_dir)
    if dataset not in datasets:
        raise click.ClickException(f"no dataset is named {dataset}; there are {', '.join(sorted(datasets))}")
    with _connection(settings) as connection:
        reports = again.retry(connection, datasets[dataset], settings, run_id=f"retry-{uuid.uuid4()}")
    tried, loaded = sum(report.records for report in reports), sum(report.loaded for report in reports)
    click.echo(f"{tried} records tried, {loaded} loaded, {tried - loaded} still in quarantine.")


def _connection(settings: Settings) -> Connection[TupleRow]:
    try:
        return connect(ingest_dsn(settings), "pista quarantine")
    except IngestNotConfiguredError as error:
        raise click.ClickException(str(error)) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error).strip()}") from None
