"""The catalog over HTTP: ``/datasets`` and ``/datasets/{name}``."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from api.catalog import Column, Dataset
from api.grammar import parse_parameters, refuse_key
from api.keys import Key
from api.problems import Problem
from api.service import service_of
from api.versions import Version

router = APIRouter(tags=["catalog"])


class Links(BaseModel):
    """Addresses, relative to this service."""

    self: str
    rows: str
    docs: str


class Paused(BaseModel):
    """Nothing new is loaded or built; what is there goes on being served."""

    since: datetime
    reason: str


class DatasetSummary(BaseModel):
    """A dataset and how fresh it is."""

    name: str
    description: str
    domain: str
    tags: list[str]
    status: str
    owner: str | None = Field(description="The team that answers for it")
    version: int = Field(description="Counts publications")
    epoch: str = Field(description="Renewed by a rebuild: versions and cursors of another epoch are void")
    row_count: int
    published_at: datetime | None = Field(description="When the version was published")
    as_of: datetime | None = Field(description="When it was last known to hold all that its inputs held")
    freshness_seconds: float | None = Field(description="How old `as_of` may be by the contract")
    stale: bool | None = Field(description="Whether `as_of` is older than that; null if nothing is promised")
    blocked_by: str | None = Field(description="The quality rule that keeps a newer version from being served")
    paused: Paused | None = Field(description="Since when and why an operator paused it; null if it is not paused")
    links: Links


class ColumnDetail(BaseModel):
    """A column, as the contract describes it."""

    name: str
    type: str = Field(description="Logical type")
    sql_type: str = Field(description="Type in PostgreSQL")
    nullable: bool
    description: str
    unit: str | None = Field(description="UCUM code")
    enum: list[Any] | None
    minimum: Any
    maximum: Any
    min_length: int | None
    max_length: int | None
    pattern: str | None
    examples: list[Any]


class DatasetDetail(DatasetSummary):
    """A dataset with its columns."""

    kind: str = Field(description="upsert: a row a key; append: a row an event; mart: derived from other datasets")
    contract_version: str
    support: str | None = Field(description="Where people ask for help")
    key: list[str] = Field(description="Columns of the primary key, in order")
    columns: list[ColumnDetail]


async def current_key(request: Request) -> Key:
    """The key of the request, which has no parameters."""
    key = await service_of(request.scope).keys.authenticate(request.scope)
    request.scope["pista"]["key"] = key.name
    for name, _ in parse_parameters(request.scope["query_string"]):
        refuse_key(name)
        raise Problem("unknown-parameter", f"'{name}' is no parameter here.", "The catalog takes no parameters.")
    return key


KeyNeeded = Annotated[Key, Depends(current_key)]


@router.get("/datasets", summary="All datasets that the key may read")
async def list_datasets(request: Request, key: KeyNeeded) -> list[DatasetSummary]:
    """Names, descriptions and freshness, by name."""
    return [DatasetSummary(**summary(*entry)) for entry in service_of(request.scope).datasets(key).values()]


@router.get("/datasets/{name}", summary="One dataset with its columns")
async def describe_dataset(request: Request, name: str, key: KeyNeeded) -> DatasetDetail:
    """Columns, units, key, rows, version and freshness."""
    dataset, version = service_of(request.scope).dataset(key, name)
    return DatasetDetail(
        **summary(dataset, version),
        kind=dataset.kind,
        contract_version=dataset.contract_version,
        support=dataset.support,
        key=list(dataset.key),
        columns=[_detail(column) for column in dataset.columns.values()],
    )


def summary(dataset: Dataset, version: Version) -> dict[str, Any]:
    """Fields of a ``DatasetSummary``."""
    return {
        "name": dataset.name,
        "description": dataset.description,
        "domain": dataset.domain,
        "tags": dataset.tags,
        "status": dataset.status,
        "owner": dataset.owner,
        "version": version.version,
        "epoch": version.epoch,
        "row_count": version.row_count,
        "published_at": version.published_at,
        "as_of": version.as_of,
        "freshness_seconds": dataset.freshness.total_seconds() if dataset.freshness is not None else None,
        "stale": version.stale(dataset.freshness),
        "blocked_by": version.blocked_by,
        "paused": {"since": dataset.paused_at, "reason": dataset.paused_reason} if dataset.paused_at else None,
        "links": {
            "self": f"/datasets/{dataset.name}",
            "rows": f"/v1/{dataset.name}",
            "docs": f"/docs#/{dataset.name}",
        },
    }


def _detail(column: Column) -> ColumnDetail:
    return ColumnDetail(
        name=column.name,
        type=column.logical_type,
        sql_type=column.sql_type,
        nullable=column.nullable,
        description=column.description,
        unit=column.unit,
        enum=list(column.enum) or None,
        minimum=column.minimum,
        maximum=column.maximum,
        min_length=column.min_length,
        max_length=column.max_length,
        pattern=column.pattern,
        examples=list(column.examples),
    )
