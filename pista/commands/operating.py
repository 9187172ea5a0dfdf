"""`pista dataset pause`, `resume` and `replay`: what operators do to a dataset that is loaded already."""

import uuid

import click

from pista.commands.access import dataset_named, ingest_connection, sentences
from pista.ingest import pausing
from pista.ingest.spans import Span, find_ranges, replay_ranges, totals
from pista.ingest.targets import parse_time
from pista.local.environment import adopt_running_stack


@click.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; everybody who looks at the dataset sees it.")
def pause(name: str, reason: str) -> None:
    """Keep a dataset from being loaded or built; what is there goes on being served."""
    settings = adopt_running_stack()
    dataset_named(settings, name)
    with ingest_connection(settings, "dataset pause") as connection:
        if not pausing.pause(connection, name, reason):
            standing = pausing.find_pauses(connection, [name]).get(name)
            raise click.ClickException(f"{name} is {standing or 'not applied yet: run `pista apply`'}")
    click.echo(f"{name} is paused: nothing of it is committed any more. `pista dataset resume {name}` lets it go on.")


@click.command()
@click.argument("name")
def resume(name: str) -> None:
    """Let a paused dataset go on where it stopped."""
    settings = adopt_running_stack()
    dataset_named(settings, name)
    with ingest_connection(settings, "dataset resume") as connection:
        ended = pausing.resume(connection, name)
    if ended is None:
        raise click.ClickException(f"{name} is not paused")
    click.echo(f"{name} goes on; it was {ended}.")


@click.command("replay")
@click.argument("name")
@click.option("--partition", type=click.IntRange(0), help="One partition only; offsets need it where there are more.")
@click.option("--from", "first", type=click.IntRange(0), help="First offset.")
@click.option("--to", "end", type=click.IntRange(1), help="One past the last offset.  [default: all that was drained]")
@click.option("--since", help="First time, such as 2013-01-31T06:00:00Z.")
@click.option("--until", help="One past the last time.  [default: all that was drained]")
@click.option("--reason", help="Why, for the audit.")
def replay_range(
    name: str,
    partition: int | None,
    first: int | None,
    end: int | None,
    since: str | None,
    until: str | None,
    reason: str | None,
) -> None:
    """Load a range of NAME's topic again: nothing is doubled, and no row goes back in time."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    with sentences(settings):
        times = [None if text is None else parse_time(text) for text in (since, until)]
        span = Span(partition, first, end, *times)
    with ingest_connection(settings, "dataset replay") as connection:
        ranges = find_ranges(connection, dataset, settings, span)
        places = ", ".join(f"partition {p} [{start}, {stop})" for p, (start, stop) in sorted(ranges.items()))
        click.echo(f"Replaying {totals(ranges)} offsets of {dataset.topic}: {places}.")
        read = changed = refused = 0
        run_id = f"replay-{uuid.uuid4()}"
        for report in replay_ranges(connection, dataset, settings, ranges, run_id=run_id, reason=reason):
            read += report.records
            changed += report.inserted + report.updated + report.deleted
            refused += report.quarantined
            click.echo(f"{read} records read, {changed} rows changed, {refused} records not loaded.")
    click.echo("Done." if read else "Done: there is no record at those offsets.")
