"""Dagster's PostgreSQL storage with connections that are kept: by itself it makes one for every event it stores."""

from typing import Any

from dagster_postgres import DagsterPostgresStorage

RECYCLE_SECONDS = 300  # an idle connection that is older is replaced
OVERFLOW = 20  # connections more than the one that is kept, for a moment with many threads


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules each keep one connection a process; ``dagster.yaml`` names this class."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "DagsterPostgresStorage":
        """As the base class, which is what it makes; only the connections differ."""
        storage = super().from_config_value(inst_data, config_value)
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            # what the webserver does for itself; 0 is PostgreSQL's own default, no limit
            part.optimize_for_webserver(statement_timeout=0, pool_recycle=RECYCLE_SECONDS, max_overflow=OVERFLOW)
            # a connection that a restart of the server closed must not fail the run that is the first to use it
            part._engine.pool._pre_ping = True  # noqa: SLF001
        return storage
