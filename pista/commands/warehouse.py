"""`pista migrate`: the database to this version's schema and contracts."""

import sys

import click
import psycopg

from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError
from pista.settings import get_settings
from pista.warehouse.migrate import MigrationChangedError
from pista.warehouse.migrate import migrate as run_migration
from pista.warehouse.tables import BreakingChangeError


@click.command()
def migrate() -> None:
    """Bring the database to this version's schema and contracts."""
    settings = get_settings()
    if settings.postgres_dsn is None:
        raise click.ClickException(
            "PISTA_POSTGRES_DSN is not set. Give an administrator's connection, such as postgresql://HOST/DATABASE; "
            "the local stack migrates by itself in `pista up`, and takes contracts by `pista apply`."
        )
    try:
        report = run_migration(settings.postgres_dsn.get_secret_value(), load_datasets(settings.datasets_dir))
    except (ContractError, BreakingChangeError, MigrationChangedError) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error).strip()}") from None
    for sentence in report.changed:
        click.echo(sentence)
    if not report.changed:
        click.echo("Nothing to do: schema and contracts are as they should be.")
    sys.exit(0)
