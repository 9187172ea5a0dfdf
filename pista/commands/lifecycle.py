"""`pista dataset load | rebuild | drop` and `pista erase`: the life of a dataset, from its history to its end."""

import uuid
from pathlib import Path

import click

from pista.commands.access import dataset_named, ingest_connection, sentences
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.dropping import DropRefusedError, holdings
from pista.ingest.dropping import drop as run_drop
from pista.ingest.erase import EraseRefusedError
from pista.ingest.erase import erase as run_erase
from pista.ingest.fileload import load_file
from pista.ingest.files import FileError
from pista.ingest.rebuild import RebuildRefusedError, RebuildReport, Source
from pista.ingest.rebuild import rebuild as run_rebuild
from pista.local.environment import adopt_running_stack
from pista.settings import Settings
from pista.warehouse.connection import connect
from pista.warehouse.shadow import RebuildRunningError


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load(name: str, files: tuple[Path, ...]) -> None:
    """Load history from FILES (NDJSON, CSV or Parquet, by suffix); records of the topic win over it."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    with ingest_connection(settings, f"load {name}") as connection:
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


@click.command()
@click.argument("name")
@click.option(
    "--from", "source", required=True, type=click.Choice([source.value for source in Source]), help="What to read."
)
@click.option("--accept-loss", is_flag=True, help="Go on without what the source lacks or the contract refuses.")
@click.option("--reason", help="For the audit.")
def rebuild(name: str, source: str, accept_loss: bool, reason: str | None) -> None:
    """Compute every row of NAME anew by its contract, while it is served, and swap."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    admin_dsn = _admin_dsn(settings)
    try:
        with sentences(settings):
            report = run_rebuild(
                admin_dsn,
                dataset,
                settings,
                Source(source),
                accept_loss=accept_loss,
                reason=reason,
                on_batch=lambda report: click.echo(f"  {report.records} records, {report.rows} rows", err=True),
            )
    except (RebuildRefusedError, RebuildRunningError) as error:
        raise click.ClickException(str(error)) from None
    for sentence in _losses(report):
        click.echo(f"Accepted: {sentence}.")
    click.echo(f"{name} was rebuilt from {source}: {report.rows} rows of {report.records} records are served.")


def _losses(report: RebuildReport) -> list[str]:
    refused = [f"the contract refuses {report.refused} records ({'; '.join(report.examples)})"]
    return report.losses + (refused if report.refused else [])


def _admin_dsn(settings: Settings) -> str:
    if settings.postgres_dsn is None:
        raise click.ClickException(
            "PISTA_POSTGRES_DSN is not set. Give an administrator's connection, such as postgresql://HOST/DATABASE, "
            "or start the local stack with `pista up`."
        )
    return settings.postgres_dsn.get_secret_value()


@click.command()
@click.argument("name")
@click.option("--reason", required=True, help="For the audit.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(name: str, reason: str, yes: bool) -> None:
    """Delete NAME: rows, raw records, quarantine, ledger and catalog; its contract must be gone already."""
    settings = adopt_running_stack()
    for file in (settings.datasets_dir / f"{name}.yaml", settings.datasets_dir / f"{name}.yml"):
        if file.exists():
            raise click.ClickException(f"{file} is there: `pista apply` would make {name} anew; remove it first")
    admin_dsn = _admin_dsn(settings)
    try:
        with sentences(settings):
            with connect(admin_dsn, f"pista drop {name}") as connection:
                found = holdings(connection, name)
            click.echo(
                f"{name} has {found.rows} rows, {found.raw} raw records and {found.quarantined} records in quarantine."
            )
            if not yes:
                click.confirm("Delete them for good?", abort=True)
            run_drop(admin_dsn, name, reason=reason)
    except (DropRefusedError, RebuildRunningError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{name} is gone." + (f" The topic {found.topic} is not touched." if found.topic else ""))


@click.command()
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--reason", required=True, help="For the audit, which does not hold the key.")
def erase(name: str, key: tuple[str, ...], reason: str) -> None:
    """Remove KEY (a value each key column, in clear) from NAME: row, raw records, quarantine, and its way back."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    admin_dsn = _admin_dsn(settings)
    try:
        with sentences(settings):
            report = run_erase(admin_dsn, dataset, settings, key, reason=reason)
    except (EraseRefusedError, RebuildRunningError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"Erased: {report.rows} rows, {report.raw} raw records, {report.quarantined} records in quarantine. "
        "Replays and rebuilds do not bring them back; events from now on are new data."
    )
    if report.marts:
        click.echo(f"To be built again: {', '.join(report.marts)}.")
    click.echo(f"The topic {dataset.topic} still holds the records until its retention or compaction removes them.")
