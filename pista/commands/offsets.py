"""`pista offsets`: where each dataset stands on its topic, and the explicit ways on where one stopped."""

import click
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.commands.access import contracts, dataset_named, ingest_connection, sentences
from pista.contracts.dataset import Dataset
from pista.ingest.conditions import TopicMissing
from pista.ingest.operating import Plan, Standing, carry_out, look, plan_acceptance, plan_reset
from pista.ingest.targets import parse_target
from pista.local.environment import adopt_running_stack
from pista.settings import Settings

HEADINGS = ("partition", "epoch", "next", "beginning", "end", "lag", "until retention")

reason_option = click.option("--reason", required=True, help="Why, for the audit.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def offsets() -> None:
    """Show where datasets stand on their topics; move them, or accept a loss."""


@offsets.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Ledger and topic side by side, and what stops a dataset, with the command that goes on."""
    settings = adopt_running_stack()
    chosen = list(contracts(settings).values()) if name is None else [dataset_named(settings, name, source=True)]
    with ingest_connection(settings, "offsets") as connection:
        for standing in look(connection, chosen, settings):
            click.echo("\n".join([*_lines(standing), ""]))


@offsets.command("accept-loss")
@click.argument("name")
@reason_option
@yes_option
def accept_loss(name: str, reason: str, yes: bool) -> None:
    """Let a dataset go on without what its topic lost, or let its next batch go to quarantine."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    with ingest_connection(settings, "offsets") as connection:
        plan = plan_acceptance(connection, _standing(connection, dataset, settings), settings)
        _confirm_and_do(connection, plan, reason, yes=yes)


@offsets.command()
@click.argument("name")
@click.option(
    "--to",
    "place",
    required=True,
    help="earliest, latest, a time such as 2013-01-31T06:00:00Z, or partition:offset[,partition:offset...].",
)
@reason_option
@yes_option
def reset(name: str, place: str, reason: str, yes: bool) -> None:
    """Have a dataset go on from another place of its topic, or with a topic that was made anew."""
    settings = adopt_running_stack()
    dataset = dataset_named(settings, name, source=True)
    with sentences(settings):
        target = parse_target(place)
    with ingest_connection(settings, "offsets") as connection:
        plan = plan_reset(connection, _standing(connection, dataset, settings), target, settings)
        _confirm_and_do(connection, plan, reason, yes=yes)


def _standing(connection: Connection[TupleRow], dataset: Dataset, settings: Settings) -> Standing:
    return look(connection, [dataset], settings)[0]


def _confirm_and_do(connection: Connection[TupleRow], plan: Plan, reason: str, *, yes: bool) -> None:
    standing = plan.standing
    if standing.condition is not None:
        click.echo(f"{standing.condition.code}: {standing.condition.sentence}")
    for line in (*plan.notes, *map(str, plan.moves)):
        click.echo(line)
    if not yes:
        click.confirm("Go on?", abort=True)
    carry_out(connection, plan, reason)
    lost = sum(move.lost for move in plan.moves)
    click.echo(f"Done, and written to ingest.audit: {lost} offsets given up.")


def _lines(standing: Standing) -> list[str]:
    """A dataset as text: a line for it, one a partition, and what stops it."""
    topic, ledger = standing.topic, standing.ledger
    identity = f", id {topic.topic_id}" if topic is not None else ""
    lines = [f"{standing.dataset.name}: topic {standing.dataset.topic}{identity}"]
    if standing.pause is not None:
        lines.append(f"  {standing.pause}. `pista dataset resume {standing.dataset.name}` lets it go on.")
    if topic is None and not isinstance(standing.condition, TopicMissing):
        lines.append("  The topic does not exist yet.")
    elif not ledger:
        lines.append("  It was never drained.")
    rows = [HEADINGS, *(_row(standing, partition) for partition in _partitions(standing))]
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines += ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    if standing.condition is not None:
        lines.append(f"  {standing.condition}")
    return lines


def _partitions(standing: Standing) -> list[int]:
    return sorted(standing.ledger.keys() | (standing.topic.beginning.keys() if standing.topic else set()))


def _row(standing: Standing, partition: int) -> tuple[str, ...]:
    entry, topic = standing.ledger.get(partition), standing.topic
    begin = topic.beginning.get(partition) if topic is not None else None
    end = topic.end.get(partition) if topic is not None else None
    same = entry is not None and topic is not None and entry.topic_id == topic.topic_id
    position = entry.next_offset if entry is not None else None
    lag = end - position if same and end is not None and position is not None else None
    # how many offsets retention has yet to delete before it takes one that was not read
    room = position - begin if same and begin is not None and position is not None else None
    cells = (partition, entry.epoch if entry is not None else None, position, begin, end, lag, room)
    return tuple("-" if cell is None else str(cell) for cell in cells)
