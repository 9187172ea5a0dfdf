"""Whether the programs of a stack do their work, asked from outside, as their users would."""

import json
import urllib.error
import urllib.request
from typing import Any

from pista.local.processes import StackError

TIMEOUT = 5.0
UNREACHABLE = "DagsterUserCodeUnreachableError"  # the code server does not listen yet; the webserver tries again
WORKSPACE = """
{
  workspaceOrError {
    ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } }
}
"""


def api_is_ready(url: str) -> bool:
    """Whether the API can serve."""
    return _get(f"{url}/readyz") is not None


def dagster_is_ready(url: str, since: float) -> bool:
    """Whether the webserver has loaded the code location and the daemon ran the sensors after ``since`` (Unix time).

    Raises:
        StackError: the code does not load.
    """
    body = json.dumps({"query": WORKSPACE}).encode()
    answer = _get(f"{url}/graphql", body, {"content-type": "application/json"})
    if not answer or answer.get("data") is None:
        return False
    for location in answer["data"]["workspaceOrError"].get("locationEntries") or []:
        loaded = location["locationOrLoadError"] or {}
        if loaded.get("__typename") == "PythonError" and UNREACHABLE not in loaded["message"]:
            raise StackError(f"Dagster cannot load the code location {location['name']}:\n{loaded['message']}")
        if loaded.get("__typename") != "RepositoryLocation":
            return False
    daemons = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    return any(d["daemonType"] == "SENSOR" and (d["lastHeartbeatTime"] or 0) >= since for d in daemons)


def served_rows(url: str, key: str) -> dict[str, int]:
    """Rows of each dataset, as the API tells a client; empty while it does not answer."""
    answer = _get(f"{url}/datasets", headers={"authorization": f"Bearer {key}"})
    return {dataset["name"]: dataset["row_count"] for dataset in answer or []}


def _get(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(url, body, headers or {})  # noqa: S310 (loopback, or the user's own address)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return json.load(response)
    except (OSError, ValueError):  # not there yet: refused, reset, 503
        return None
