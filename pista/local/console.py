"""What the commands of the local stack say: a progress bar on a terminal, plain lines elsewhere, tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pista.local.replay import ReplayReport
from pista.local.served import Served
from pista.local.state import State

PLAIN_SECONDS = 5.0  # between two plain lines of progress

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how far something is: ``update(done, total)``."""
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(title: str) -> Callable[[int, int], None]:
    said_at = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= PLAIN_SECONDS:
            said_at = time.monotonic()
            console.print(f"  {title}: {done:,} of {total:,}")

    return update


class Stopwatch:
    """Wall time by step, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time of the block as that of the step."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def replayed(report: ReplayReport) -> str:
    """What a replay published, as a sentence."""
    if not report.events:
        return "Nothing to publish: the events are on their topics already."
    rate = report.events / report.seconds
    return f"Published {report.events:,} events in {report.seconds:.1f} s ({rate:,.0f} a second)."


def summarise(
    datasets: Iterable[Served], seconds: Mapping[str, float], state: State, admin_dsn: str, api_key: str
) -> None:
    """Say what is served, how long each step took, and where everything is."""
    total = sum(seconds.values())
    shares = ", ".join(f"{name} {part:.1f} s ({part / total:.0%})" for name, part in seconds.items())
    console.print(table(datasets))
    console.print(f"Served after {total:.1f} s: {shares}.\n")
    console.print(f"Dagster   {state.dagster_url}")
    console.print(f"API       {state.api_url}/docs")
    console.print(f"psql      {admin_dsn}")
    console.print(f"Kafka     {state.kafka_bootstrap}\n")
    query = f"{state.api_url}/v1/flights?dest=eq.SFO&order=departure.desc.nullslast&limit=3"
    console.print(f"curl -H 'Authorization: Bearer {api_key}' '{query}'\n")
    console.print("Ctrl-C stops everything.")


def table(datasets: Iterable[Served]) -> Table:
    """The datasets, a line each."""
    lines = Table("dataset", box=SIMPLE_HEAD)
    for name in ("rows", "version", "lag", "quarantined"):
        lines.add_column(name, justify="right")
    lines.add_column("fresh")
    for one in datasets:
        fresh = {True: "stale", False: "yes", None: "-"}[one.stale] if one.version else "not built yet"
        fresh = fresh if one.paused is None else f"{fresh}, paused: {one.paused}"
        lag = "-" if one.lag is None else f"{one.lag:,}"
        lines.add_row(one.name, f"{one.rows:,}", str(one.version), lag, f"{one.quarantined:,}", fresh)
    return lines
