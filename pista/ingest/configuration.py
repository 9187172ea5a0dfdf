"""The database connection of ingestion, from the settings."""

from pista.settings import Settings


class IngestNotConfiguredError(Exception):
    """No connection for ingestion is known to this process."""


def ingest_dsn(settings: Settings) -> str:
    """Connection of ``pista_ingest``.

    Raises:
        IngestNotConfiguredError: ``PISTA_INGEST_DSN`` is not set.
    """
    if settings.ingest_dsn is None:
        raise IngestNotConfiguredError(
            "PISTA_INGEST_DSN is not set. Give a connection as pista_ingest, or start the local stack with `pista up`."
        )
    return settings.ingest_dsn.get_secret_value()
