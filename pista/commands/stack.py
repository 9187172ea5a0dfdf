"""`pista up`, `down`, `status` and `replay`: the local stack."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
import psycopg
from kafka.errors import KafkaError

from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError
from pista.kafka.client import KafkaNotConfiguredError, client_options
from pista.local import launcher
from pista.local.console import console, progress, replayed, table
from pista.local.environment import Connections, adopt_running_stack
from pista.local.processes import StackError, marked
from pista.local.replay import replay as publish
from pista.local.served import Served, served
from pista.local.state import Credentials, State
from pista.settings import get_settings
from pista.warehouse.migrate import MigrationChangedError
from pista.warehouse.tables import BreakingChangeError

MONTHS = click.IntRange(1, 12)


@click.command()
@click.option("--months", type=MONTHS, default=1, show_default=True, help="Months of 2013 to replay.")
@click.option("--detach", is_flag=True, help="Return when the stack serves, and leave it running.")
def up(months: int, detach: bool) -> None:
    """Start the local stack, replay real flights, and serve them until Ctrl-C."""
    settings = get_settings()
    home = settings.home.resolve()
    try:
        with _sentences(home):
            if detach:
                launcher.launch_detached(home, months)
                return
            launcher.launch(settings, months)
    except click.ClickException as error:
        error.show()
        _leave(error.exit_code)
    except launcher.Ended as ended:
        _leave(128 + ended.number)


@click.command()
def down() -> None:
    """Stop the local stack."""
    home = get_settings().home.resolve()
    with _sentences(home):
        click.echo(launcher.stop_everything(home))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(as_json: bool) -> None:
    """Show what runs and what is served; the exit code is 0 if the stack is ready."""
    home = get_settings().home.resolve()
    with _sentences(home):
        found = _status(home)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(home, found)
    sys.exit(0 if found["ready"] else 1)


def _status(home: Path) -> dict[str, Any]:
    state = State.of(home)
    if not launcher.is_running(home) or not state.processes:
        return {"ready": False, "datasets": []}
    settings = get_settings()
    credentials = Credentials.of(home)
    connections = Connections.of(settings, state, credentials)
    datasets: list[Served] = []
    if state.ready:
        datasets = served(load_datasets(settings.datasets_dir), connections.applied_to(settings, state))
    return {
        "ready": state.ready,
        "api_url": state.api_url,
        "api_key": credentials.api_key,
        "dagster_url": state.dagster_url,
        "kafka_bootstrap": state.kafka_bootstrap,
        "postgres_dsn": connections.admin_dsn,
        "datasets": [asdict(one) for one in datasets],
    }


def _show(home: Path, found: dict[str, Any]) -> None:
    if "api_url" not in found:
        console.print("The stack does not run. `pista up` starts it.")
        return
    console.print(f"Dagster   {found['dagster_url']}")
    console.print(f"API       {found['api_url']}/docs")
    console.print(f"psql      {found['postgres_dsn']}")
    console.print(f"Kafka     {found['kafka_bootstrap']}")
    console.print(f"Processes {', '.join(f'{name} {pid}' for pid, name in sorted(marked(home).items()))}")
    if found["ready"]:
        console.print(table(Served(**one) for one in found["datasets"]))
    else:
        console.print("The stack is starting; what it serves is shown when it is ready.")


@click.command()
@click.option("--months", type=MONTHS, default=1, show_default=True, help="Months of 2013, from January on.")
def replay(months: int) -> None:
    """Publish real flights into the running stack; what is there already is not published again."""
    settings = adopt_running_stack()
    with _sentences(settings.home.resolve()):
        try:
            options = client_options(settings)
        except KafkaNotConfiguredError as error:
            raise StackError(str(error)) from error
        with progress("events") as update:
            report = publish(options, load_datasets(settings.datasets_dir), months, update)
    console.print(replayed(report))


@contextmanager
def _sentences(home: Path) -> Iterator[None]:
    """Say what went wrong as a sentence, without a traceback."""
    try:
        yield
    except (StackError, ContractError, BreakingChangeError, MigrationChangedError) as error:
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        raise click.ClickException(f"Kafka does not answer: {error}") from error
    except psycopg.OperationalError as error:
        raise click.ClickException(f"PostgreSQL does not answer: {str(error).strip()}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise click.ClickException(f"No space is left on the disk of {home}: free some, and try again.") from error
        if isinstance(error, PermissionError):
            raise click.ClickException(f"{error.filename}: permission denied. It belongs to another user.") from error
        raise


def _leave(code: int) -> NoReturn:
    """End now: a thread may still wait for the network, and nobody waits for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
