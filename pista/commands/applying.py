"""From contracts to served rows: the steps of ``pista apply`` that talk to other programs."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from pista.contracts.dataset import Dataset
from pista.ingest.lag import Lag, measure_lag
from pista.settings import Settings
from pista.warehouse.connection import connect

LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { name } } ... on PythonError { message } } }"
RELOAD = """
mutation Reload($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { ... on PythonError { message causes { message } } } }
    ... on ReloadNotSupported { message }
    ... on RepositoryLocationNotFound { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
RELOAD_SECONDS = 60.0
POLL_SECONDS = 0.5


class ApplyError(Exception):
    """A step failed; the text says which and why."""


def contract_hashes(dsn: str) -> dict[str, str]:
    """Hash of each contract that the database knows; none before the first migration."""
    with connect(dsn, "pista apply") as connection:
        row = connection.execute("SELECT to_regclass('catalog.datasets') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            return {}
        return dict(connection.execute("SELECT name, contract_hash FROM catalog.datasets WHERE served").fetchall())


def row_counts(dsn: str) -> dict[str, int]:
    """Rows of each dataset, as its last publication counted them."""
    with connect(dsn, "pista apply") as connection:
        return dict(connection.execute("SELECT dataset, row_count FROM catalog.versions").fetchall())


def reload_code_locations(dagster_url: str) -> list[str]:
    """Have the Dagster webserver load the code location anew, so that it knows the new datasets; their names.

    Raises:
        ApplyError: the webserver does not answer, or the code does not load.
    """
    names = [entry["name"] for entry in _ask(dagster_url, LOCATIONS)["workspaceOrError"].get("locationEntries", ())]
    for name in names:
        answer = _ask(dagster_url, RELOAD, {"name": name})["reloadRepositoryLocation"]
        error = answer.get("locationOrLoadError") or answer
        if "message" in error:
            # the error itself is Dagster's frame, its last cause is what went wrong in the code
            cause = (error.get("causes") or [error])[-1]["message"]
            raise ApplyError(f"Dagster cannot load {name}: {cause.strip()}")
    return names


def wait_until_loaded(datasets: Mapping[str, Dataset], settings: Settings, seconds: float) -> Iterator[tuple[str, Lag]]:
    """Each source dataset as soon as all that its topic holds is loaded, or it cannot be.

    Raises:
        ApplyError: some still lag after ``seconds``.
    """
    waiting = dict(datasets)
    deadline = time.monotonic() + seconds
    while waiting:
        lags = measure_lag(waiting.values(), settings)
        for name, lag in lags.items():
            if not lag.records or lag.condition is not None or lag.topic_missing or lag.pause is not None:
                del waiting[name]
                yield name, lag
        if waiting and time.monotonic() > deadline:
            left = ", ".join(f"{name} ({lags[name].records} records left)" for name in waiting)
            raise ApplyError(
                f"not all is loaded after {seconds:.0f} s: {left}. It goes on by itself; the Dagster UI shows the runs"
            )
        if waiting:
            time.sleep(POLL_SECONDS)


def first_status(url: str, key: str, seconds: float = 10.0) -> int:
    """The HTTP status of a request with that API key, 0 where nothing answers; 200 may take ``seconds`` to come."""
    deadline = time.monotonic() + seconds  # the API learns of a new dataset by notification
    while (status := _status(url, key)) != 200 and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return status


def _status(url: str, key: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _ask(url: str, query: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url.rstrip('/')}/graphql", body, headers)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=RELOAD_SECONDS) as response:  # noqa: S310
            answer = json.load(response)
    except OSError as error:
        raise ApplyError(f"the Dagster webserver at {url} does not answer: {error}") from None
    if answer.get("errors"):
        raise ApplyError(f"the Dagster webserver at {url} refuses: {answer['errors'][0]['message']}")
    data: dict[str, Any] = answer["data"]
    return data
