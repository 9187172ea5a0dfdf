"""How groups of drains are called in Dagster, and how a run says which share of a dataset it drains."""

from collections.abc import Mapping

from dagster_project.metadata import identifier
from pista.ingest.share import WHOLE, Share

SHARE_TAG = "pista/share"


def drain_job(group: str) -> str:
    """Name of the job that drains a group."""
    return f"drain_{identifier(group)}"


def share_of(tags: Mapping[str, str]) -> Share:
    """The share that a run with these tags drains; one started by hand without any drains all partitions."""
    return Share.parse(tags[SHARE_TAG]) if SHARE_TAG in tags else WHOLE
