"""`pista dataset`, `pista apply` and `pista produce`: from a topic to a contract, from a contract to served rows."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click
import psycopg
from kafka.errors import KafkaError

from pista.commands import applying, checking, lifecycle, operating, producing, sampling
from pista.contracts.dataset import Dataset, Format, Framing
from pista.contracts.inference import infer_contract
from pista.contracts.loading import load_datasets
from pista.contracts.names import dataset_name_problem
from pista.contracts.problems import ContractError, did_you_mean
from pista.ingest.configuration import IngestNotConfiguredError
from pista.kafka.client import KafkaNotConfiguredError, client_options
from pista.kafka.topics import describe_topics, ensure_topics
from pista.local.environment import adopt_running_stack
from pista.local.state import Credentials, State
from pista.settings import Settings
from pista.warehouse.migrate import MigrationChangedError
from pista.warehouse.migrate import migrate as run_migration
from pista.warehouse.tables import BreakingChangeError, table_ddl


@click.group()
def dataset() -> None:
    """Make a contract from a topic, and everything that happens to a dataset from then on."""


for command in (
    lifecycle.load,
    lifecycle.rebuild,
    lifecycle.drop,
    operating.pause,
    operating.resume,
    operating.replay_range,
):
    dataset.add_command(command)


@dataset.command("new")
@click.argument("name")
@click.option("--topic", required=True, help="Topic to read.")
@click.option(
    "--sample", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="Newest records to read."
)
@click.option(
    "--format",
    "message_format",
    type=click.Choice([f.value for f in Format]),
    help="How values are written; default: found out.",
)
@click.option(
    "--framing", type=click.Choice([f.value for f in Framing]), help="What stands before them; default: found out."
)
def new(name: str, topic: str, sample: int, message_format: str | None, framing: str | None) -> None:
    """Write a commented contract for TOPIC, inferred from its newest records, to the datasets folder."""
    settings = adopt_running_stack()
    if (reason := dataset_name_problem(name)) is not None:
        raise click.ClickException(f"{name!r}: {reason}")
    path = settings.datasets_dir / f"{name}.yaml"
    if path.exists():
        raise click.ClickException(f"{path} is there already; choose another name, or delete it first")
    if not path.parent.is_dir():
        raise click.ClickException(f"{path.parent} is no folder; PISTA_DATASETS_DIR names the folder of contracts")
    with sampling.spoken_errors(settings):
        records = sampling.newest_records(settings, topic, sample)
        plain = sampling.make_plain(
            settings,
            topic,
            records,
            Format(message_format) if message_format else None,
            Framing(framing) if framing else None,
        )
        text = infer_contract(name, topic, plain.messages, plain.message_format, plain.framing, plain.notes)
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}. Read its comments, run `pista dataset check {name}`, then `pista apply`.")


@dataset.command("check")
@click.argument("name")
@click.option(
    "--sample", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="Newest records to try."
)
def check(name: str, sample: int) -> None:
    """Lint NAME's contract, show its DDL, and try it on the newest records of its topic. Writes nothing."""
    settings = adopt_running_stack()
    datasets = _load(settings)
    if name not in datasets:
        raise click.ClickException(f"{name} is no dataset; {did_you_mean(name, sorted(datasets))}")
    target = datasets[name]
    for line in checking.lint(target):
        click.echo(line)
    click.echo("\nIn an empty database its tables would be made by:\n")
    click.echo(f"{table_ddl(target)};")
    if target.topic is None:
        click.echo("\nA mart reads no topic: there is nothing to try.")
        return
    with sampling.spoken_errors(settings):
        trial = checking.try_contract(target, settings, sampling.newest_records(settings, target.topic, sample))
    click.echo(f"\nTried on the newest {trial.records} records of {target.topic}:")
    for line in trial.lines():
        click.echo(f"  {line}")
    if trial.quarantined:
        sys.exit(1)


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
def produce(name: str, file: str) -> None:
    """Publish the records of FILE (NDJSON, or CSV by its suffix; - for NDJSON from standard input) to NAME's topic."""
    settings = adopt_running_stack()
    datasets = _load(settings)
    target = datasets.get(name)
    if target is None or target.topic is None:
        sources = sorted(d.name for d in datasets.values() if d.is_source)
        what = "a mart, and has no topic" if target else "no dataset"
        raise click.ClickException(f"{name} is {what}; {did_you_mean(name, sources)}")
    is_csv = Path(file).suffix.lower() == ".csv"
    if (reason := producing.refusal(target, is_csv)) is not None:
        raise click.ClickException(reason)
    read = producing.read_csv if is_csv else producing.read_ndjson
    try:
        options = client_options(settings)
        if describe_topics(options, [target.topic])[target.topic] is None:
            way = "`pista apply` makes it" if target.partitions else "its owner has to make it, or `managed: true`"
            raise click.ClickException(f"the topic {target.topic} does not exist; {way}")
        with click.open_file(file, encoding="utf-8-sig") as lines:
            count = producing.publish(options, target.topic, read(lines, target))
    except (producing.LineError, KafkaNotConfiguredError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is not UTF-8: {error}") from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    click.echo(f"{count} records published to {target.topic}.")


@click.command()
@click.option("--wait", default=120.0, show_default=True, help="Most seconds to wait for rows.")
def apply(wait: float) -> None:
    """Validate the contracts, migrate, make topics, reload Dagster, wait for rows, and say how to read them."""
    settings = adopt_running_stack()
    datasets = _load(settings)
    click.echo(f"{len(datasets)} contracts are valid.")
    if settings.postgres_dsn is None:
        raise click.ClickException(
            "PISTA_POSTGRES_DSN is not set, and no local stack runs here. Give an administrator's connection, "
            "or start the stack with `pista up`."
        )
    admin_dsn = settings.postgres_dsn.get_secret_value()
    state = State.of(settings.home.resolve())
    try:
        before = applying.contract_hashes(admin_dsn)
        for sentence in run_migration(admin_dsn, datasets).changed:
            click.echo(sentence)
        for topic in ensure_topics(client_options(settings), datasets.values()):
            click.echo(f"Made the topic {topic}.")
        changed = {name: d for name, d in datasets.items() if before.get(name) != d.contract_hash}
        if not state.processes:
            click.echo("No local stack runs here: the deployment of Dagster has to load the contracts anew.")
            return
        applying.reload_code_locations(state.dagster_url)
        _wait_for_rows(changed, settings, admin_dsn, wait)
    except (applying.ApplyError, BreakingChangeError, MigrationChangedError) as error:
        raise click.ClickException(str(error)) from None
    except (IngestNotConfiguredError, KafkaNotConfiguredError) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error).strip()}") from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    _say_how_to_read(changed or datasets, state, Credentials.of(settings.home.resolve()).api_key)


def _wait_for_rows(changed: Mapping[str, Dataset], settings: Settings, admin_dsn: str, seconds: float) -> None:
    if not changed:
        click.echo("No contract has changed.")
    sources = {name: d for name, d in changed.items() if d.is_source}
    for name, lag in applying.wait_until_loaded(sources, settings, seconds):
        topic, rows = sources[name].topic, applying.row_counts(admin_dsn)[name]
        if lag.condition is not None:
            click.echo(f"{name}: stopped, {lag.condition}", err=True)
        elif lag.pause is not None:
            click.echo(f"{name}: {lag.pause}. `pista dataset resume {name}` lets it go on.")
        elif lag.topic_missing:
            click.echo(f"{name}: the topic {topic} does not exist yet; rows come as soon as it does.")
        elif not any(end for _, end in lag.partitions.values()):
            click.echo(f"{name}: the topic {topic} is empty; rows come as soon as it has records.")
        else:
            click.echo(f"{name}: {rows} rows.")
    for name in changed.keys() - sources.keys():
        click.echo(f"{name}: is built from its inputs by Dagster.")


def _say_how_to_read(datasets: Mapping[str, Dataset], state: State, api_key: str) -> None:
    """Print a request for each, after having made it."""
    for name in datasets:
        url = f"{state.api_url}/v1/{name}?limit=3"
        status = applying.first_status(url, api_key)
        if status != 200:
            answer = f"answers {status}" if status else "does not answer"
            raise click.ClickException(f"the API {answer} at {url}; see the log of the API in the logs of `pista up`")
        click.echo(f"curl -H 'Authorization: Bearer {api_key}' '{url}'")


def _load(settings: Settings) -> dict[str, Dataset]:
    try:
        return load_datasets(settings.datasets_dir)
    except ContractError as error:
        raise click.ClickException(str(error)) from None
