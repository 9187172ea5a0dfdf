"""What names Pista accepts, and why: they become tables, columns, partitions and query parameters."""

import re

IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*_?\Z")
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")  # what Kafka accepts
TAG = re.compile(r"[A-Za-z0-9_.-]{1,63}\Z")  # what Dagster accepts
VERSION = re.compile(r"\d+\.\d+\.\d+\Z")

DATASET_MAX_BYTES = 40  # leaves room for the suffixes of partitions and indexes in PostgreSQL's 63
COLUMN_MAX_BYTES = 60

SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
QUERY_PARAMETERS = ("select", "order", "limit", "offset", "cursor", "and", "or", "not")
TAKEN_SUFFIX = re.compile(r".*_(\d{8}|default|pkey|position|slice)\Z")  # partitions and indexes are named so


def dataset_name_problem(name: str) -> str | None:
    """Why a dataset cannot have this name; None if it can."""
    if not IDENTIFIER.match(name):
        return "a dataset's name is snake_case: a to z, digits and underscores, a letter first"
    if len(name) > DATASET_MAX_BYTES:
        return f"a dataset's name has at most {DATASET_MAX_BYTES} characters, this one has {len(name)}"
    if TAKEN_SUFFIX.match(name):
        return (
            "a dataset's name cannot end in _YYYYMMDD, _default, _pkey, _position or _slice: "
            "its tables' parts are named so"
        )
    return None


def column_name_problem(name: str) -> str | None:
    """Why a column cannot have this name; None if it can."""
    if not IDENTIFIER.match(name):
        return (
            "a column's name is snake_case: a to z, digits and underscores, a letter first; "
            "the field of the message goes into physicalName"
        )
    if len(name) > COLUMN_MAX_BYTES:
        return f"a column's name has at most {COLUMN_MAX_BYTES} characters, this one has {len(name)}"
    if name in SYSTEM_COLUMNS:
        return "every PostgreSQL table has a column of that name; the field of the message goes into physicalName"
    if name in QUERY_PARAMETERS:
        return "the API's query parameters have that name; the field of the message goes into physicalName"
    return None
