"""`pista quarantine`: the records that could not be loaded."""

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import orjson
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.commands.access import contracts, dataset_named, ingest_connection
from pista.contracts.problems import did_you_mean
from pista.ingest import again, upkeep
from pista.ingest.audit import record_audit
from pista.ingest.inspection import Choice, View, chosen_records, count_by_reason, sensitive_columns
from pista.ingest.quarantine import find
from pista.ingest.reasons import Reason
from pista.ingest.targets import parse_time
from pista.local.environment import adopt_running_stack

reveal_option = click.option("--reveal", is_flag=True, help="Show personal data too; the audit keeps who did.")


@click.group()
def quarantine() -> None:
    """List, show, export, retry and give up records that could not be loaded."""


@quarantine.command("list")
@click.argument("dataset", required=False)
@click.option("--reason", help="Records of that reason only.")
@click.option("--since", help="Quarantined at that time or later, such as 2013-01-31T06:00:00Z.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Most records to list.")
def list_(dataset: str | None, reason: str | None, since: str | None, limit: int) -> None:
    """Open records, oldest first: number, place and what is wrong; then how many there are of each reason."""
    settings = adopt_running_stack()
    known = contracts(settings)
    with ingest_connection(settings, "quarantine") as connection:
        choice = _choice(connection, dataset, reason, since)
        lines = list(chosen_records(connection, choice, limit))
        counts = count_by_reason(connection, choice)
    for line in lines:
        detail = View(known.get(line.dataset), reveal=False).detail(line)
        click.echo(f"{line.id}\t{line.dataset}\t{line.topic}/{line.partition}/{line.offset}\t{line.reason}\t{detail}")
    if not counts:
        click.echo("No record is in quarantine." if choice == Choice() else "No such record is in quarantine.")
        return
    total = sum(count for *_, count in counts)
    click.echo(f"{len(lines)} of {total} records" + (f"; --limit {total} lists all." if len(lines) < total else "."))
    _echo_counts(counts)


@quarantine.command()
@click.argument("number", type=int)
@reveal_option
@click.option("--reason", help="Why it is revealed, for the audit.")
def show(number: int, reveal: bool, reason: str | None) -> None:
    """One record, by the number that `list` gives."""
    settings = adopt_running_stack()
    known = contracts(settings)
    with ingest_connection(settings, "quarantine") as connection:
        line = find(connection, number)
        if line is None:
            raise click.ClickException(f"no record has the number {number}; `pista quarantine list` gives them")
        if reveal:
            record_audit(connection, "quarantine show", line.dataset, {"number": number, "revealed": True}, reason)
    view = View(known.get(line.dataset), reveal=reveal)
    ended = line.resolved_at.isoformat() if line.resolved_at else "no"
    click.echo(f"dataset   {line.dataset}")
    click.echo(f"place     topic {line.topic}, partition {line.partition}, offset {line.offset}, epoch {line.epoch}")
    click.echo(f"produced  {line.timestamp.isoformat()}")
    click.echo(f"reason    {line.reason}: {view.detail(line)}")
    click.echo(f"run       {line.run_id}, {line.quarantined_at.isoformat()}")
    click.echo(f"resolved  {ended}{', given up' if line.discarded_at else ''}")
    click.echo(f"headers   {view.headers(line)}")
    click.echo(f"key       {view.key(line)}")
    click.echo(f"value     {view.value(line)}")


@quarantine.command()
@click.argument("dataset")
@click.option("--to", "file", required=True, help="A new file; - for standard output.")
@reveal_option
@click.option("--reason", help="Why it is revealed, for the audit.")
def export(dataset: str, file: str, reveal: bool, reason: str | None) -> None:
    """Open records of a dataset as NDJSON, key and value in base64."""
    settings = adopt_running_stack()
    known = contracts(settings)
    count = 0
    with ingest_connection(settings, "quarantine") as connection:
        choice = _choice(connection, dataset, None, None)
        view = View(known.get(dataset), reveal=reveal)
        with _new_file(file) as out:
            if reveal:
                record_audit(connection, "quarantine export", dataset, {"file": file, "revealed": True}, reason)
            for line in chosen_records(connection, choice, None):
                out.write(orjson.dumps(view.document(line), option=orjson.OPT_APPEND_NEWLINE))
                count += 1
    hidden = not reveal and (dataset not in known or bool(sensitive_columns(known[dataset])))
    click.echo(f"{count} records{', without key and value, which may be personal' if hidden else ''}.", err=True)


@quarantine.command()
@click.argument("dataset")
def retry(dataset: str) -> None:
    """Load the open records of a dataset again, after its contract was mended."""
    settings = adopt_running_stack()
    chosen = dataset_named(settings, dataset, source=True)
    run_id = f"retry-{uuid.uuid4()}"
    with ingest_connection(settings, "quarantine") as connection:
        reports = again.retry(connection, chosen, settings, run_id=run_id)
        tried, loaded = sum(report.records for report in reports), sum(report.loaded for report in reports)
        if reports:
            detail = {"run_id": run_id, "tried": tried, "loaded": loaded}
            record_audit(connection, "quarantine retry", dataset, detail, None)
        remaining = count_by_reason(connection, Choice(dataset))
    click.echo(f"{tried} records tried, {loaded} loaded, {tried - loaded} still in quarantine.")
    _echo_counts(remaining)


@quarantine.command()
@click.argument("dataset")
@click.option("--number", "numbers", type=int, multiple=True, help="One record only; may be given several times.")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(dataset: str, numbers: tuple[int, ...], reason: str, yes: bool) -> None:
    """Give open records of a dataset up; retention deletes them later."""
    settings = adopt_running_stack()
    with ingest_connection(settings, "quarantine") as connection:
        choice = _choice(connection, dataset, None, None)
        counts = count_by_reason(connection, choice)
        total = len(numbers) or sum(count for *_, count in counts)
        if not total:
            raise click.ClickException(f"no record of {dataset} is in quarantine")
        click.echo(f"{total} records of {dataset} are given up: nobody will load them any more.")
        if not numbers:
            _echo_counts(counts)
        if not yes:
            click.confirm("Go on?", abort=True)
        given_up = upkeep.discard(connection, dataset, numbers or None, reason)
    click.echo(f"{given_up} records given up.")


def _choice(connection: Connection[TupleRow], dataset: str | None, reason: str | None, since: str | None) -> Choice:
    """A choice whose dataset and reason exist; a dataset may have outlived its contract."""
    if dataset is not None:
        names = [name for (name,) in connection.execute("SELECT name FROM catalog.datasets ORDER BY name")]
        if dataset not in names:
            raise click.ClickException(f"no dataset is named {dataset}; {did_you_mean(dataset, names)}")
    reasons = [one.value for one in Reason]
    if reason is not None and reason not in reasons:
        raise click.ClickException(f"no reason is named {reason}; {did_you_mean(reason, reasons)}")
    return Choice(dataset, reason, None if since is None else parse_time(since))


def _echo_counts(counts: list[tuple[str, str, int]]) -> None:
    for name, why, count in counts:
        click.echo(f"{count:>9}  {name}  {why}")


@contextmanager
def _new_file(name: str) -> Iterator[BinaryIO]:
    """A file that nobody else can read, for its content may be personal."""
    if name == "-":
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(Path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{name}: {error.strerror}; name a file that is not there yet") from None
    with os.fdopen(descriptor, "wb") as out:
        yield out
