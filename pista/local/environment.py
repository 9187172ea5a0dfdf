"""Which addresses and secrets a stack has, for the programs it starts and for commands in another terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from pista.local import databases, postgres
from pista.local.state import Credentials, State
from pista.settings import Settings, get_settings


@dataclass(frozen=True, slots=True)
class Connections:
    """Addresses of the servers of a stack, with the credentials of each role; URIs for PostgreSQL."""

    admin_dsn: str
    ingest_dsn: str
    api_dsn: str
    dagster_dsn: str
    kafka_bootstrap: str

    @classmethod
    def of(cls, settings: Settings, state: State, credentials: Credentials) -> "Connections":
        """Those that the settings name, else those of the embedded servers."""
        if settings.postgres_dsn:
            admin = databases.uri(settings.postgres_dsn.get_secret_value())
        else:
            admin = postgres.dsn(state.ports["postgres"], credentials.postgres, databases.PISTA)
        ingest = settings.ingest_dsn and settings.ingest_dsn.get_secret_value()
        api = settings.api_dsn and settings.api_dsn.get_secret_value()
        return cls(
            admin_dsn=admin,
            ingest_dsn=ingest or databases.uri(admin, user="pista_ingest", password=credentials.pista_ingest),
            api_dsn=api or databases.uri(admin, user="pista_api", password=credentials.pista_api),
            dagster_dsn=databases.uri(
                admin, user=databases.DAGSTER, password=credentials.dagster, database=databases.DAGSTER
            ),
            kafka_bootstrap=settings.kafka_bootstrap or f"127.0.0.1:{state.ports['kafka']}",
        )

    def variables(self, settings: Settings, state: State, most_runs: int) -> dict[str, str]:
        """Environment of the programs of the stack; ``most_runs`` is what Dagster allows at once."""
        home = settings.home.resolve()
        dagster = conninfo_to_dict(self.dagster_dsn)
        return {
            "PISTA_HOME": str(home),
            "PISTA_DATASETS_DIR": str(settings.datasets_dir.resolve()),
            "PISTA_INGEST_DSN": self.ingest_dsn,
            "PISTA_API_DSN": self.api_dsn,
            "PISTA_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "PISTA_API_PORT": str(state.ports["api"]),
            "PISTA_API_URL": state.api_url,
            "PISTA_DAGSTER_PORT": str(state.ports["dagster"]),
            "PISTA_CODE_SERVER_PORT": str(state.ports["code-server"]),
            "PISTA_DAGSTER_PG_HOST": str(dagster["host"]),
            "PISTA_DAGSTER_PG_PORT": str(dagster["port"]),
            "PISTA_DAGSTER_PG_USER": str(dagster["user"]),
            "PISTA_DAGSTER_PG_PASSWORD": str(dagster["password"]),
            "PISTA_DAGSTER_PG_DATABASE": str(dagster["dbname"]),
            "PISTA_DAGSTER_MAX_RUNS": str(most_runs),
            "DAGSTER_HOME": str(dagster_home(home)),
        }

    def applied_to(self, settings: Settings, state: State) -> Settings:
        """The settings, with these connections where they name none."""
        values: dict[str, Any] = settings.model_dump()
        values |= {name: getattr(self, name) for name in ("ingest_dsn", "api_dsn", "kafka_bootstrap")}
        values |= {"postgres_dsn": self.admin_dsn, "api_url": state.api_url}
        values |= {"api_port": state.ports["api"], "dagster_port": state.ports["dagster"]}
        return Settings.model_validate(values)


def dagster_home(home: Path) -> Path:
    """Dagster's instance directory."""
    return home / "dagster"


def adopt_running_stack() -> Settings:
    """Settings of a command: the environment's, completed by the local stack if one runs."""
    settings = get_settings()
    home = settings.home.resolve()
    state = State.of(home)
    if not state.processes:
        return settings
    return Connections.of(settings, state, Credentials.of(home)).applied_to(settings, state)
