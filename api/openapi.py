"""OpenAPI 3.1, typed for each dataset, written from the catalog."""

from collections.abc import Iterable
from typing import Any

from api.catalog import Column, Dataset
from api.filters import OPERATORS
from api.grammar import DEFAULT_LIMIT, MAX_LIMIT
from api.problems import CODES, CONTENT_TYPE
from api.values import PARSERS

Json = dict[str, Any]

_TYPES: dict[str, Json] = {
    "text": {"type": "string"},
    "smallint": {"type": "integer", "format": "int32", "minimum": -(2**15), "maximum": 2**15 - 1},
    "integer": {"type": "integer", "format": "int32"},
    "bigint": {"type": "integer", "format": "int64"},
    "real": {"type": "number", "format": "float"},
    "double precision": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
}
SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token"},
    "apikey": {"type": "apiKey", "in": "header", "name": "apikey"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The API key as user name, no password"},
}
NEEDS_KEY: list[Json] = [{name: []} for name in SECURITY]
_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457 problem details, with the four fields that PostgREST's clients read",
    "required": ["type", "title", "status", "detail", "instance", "request_id", "code", "message", "details", "hint"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:pista:problem:unknown-column"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "code": {"type": "string", "enum": list(CODES)},
        "message": {"type": "string", "description": "What happened"},
        "details": {"type": ["string", "null"], "description": "What would be valid"},
        "hint": {"type": ["string", "null"], "description": "What to do about it"},
    },
}
_PARAMETERS: Json = {
    "select": {
        "name": "select",
        "in": "query",
        "description": "Columns, separated by commas. Default: all that the contract names",
        "schema": {"type": "string"},
    },
    "order": {
        "name": "order",
        "in": "query",
        "description": "`column[.asc|.desc][.nullsfirst|.nullslast]`, separated by commas; the key completes it",
        "schema": {"type": "string"},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "Most rows of one page",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
    "cursor": {
        "name": "cursor",
        "in": "query",
        "description": "Where the page before ended; taken from its `Link` header",
        "schema": {"type": "string"},
    },
    "if-none-match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "`ETag` of an answer that the client has",
        "schema": {"type": "string"},
    },
}
_HEADERS: Json = {
    "ETag": {"description": "Changes with every version of the dataset", "schema": {"type": "string"}},
    "Dataset-Version": {"description": "Version that the rows are of", "schema": {"type": "integer"}},
    "Last-Modified": {"description": "When that version was published", "schema": {"type": "string"}},
}
_PAGE_HEADERS: Json = _HEADERS | {
    "Content-Range": {"description": "`first-last/*`, or `*/*` without rows", "schema": {"type": "string"}},
    "Link": {"description": '`rel="next"` where more rows remain', "schema": {"type": "string"}},
}


def document(base: Json, datasets: Iterable[Dataset]) -> Json:
    """The whole document.

    Args:
        base: What the framework knows: the fixed endpoints.
        datasets: The catalog.
    """
    components = base.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    components["parameters"] = _PARAMETERS
    components["securitySchemes"] = SECURITY
    components["responses"] = {
        "Problem": {
            "description": "Not what was asked for, and why",
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, item in base["paths"].items():
        for operation in item.values():
            operation["responses"].pop("422", None)
            if path.startswith("/datasets"):
                operation["security"] = NEEDS_KEY
                operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    base["tags"] = []
    for dataset in datasets:
        base["tags"].append({"name": dataset.name, "description": dataset.description})
        # a dataset's schema must not collide with one of the API's own
        schemas[f"row.{dataset.name}"] = row_schema(dataset)
        base["paths"][f"/v1/{dataset.name}"] = {"get": _page_operation(dataset)}
        base["paths"][f"/v1/{dataset.name}/{{key}}"] = {"get": _record_operation(dataset)}
    base["tags"] += [{"name": "catalog"}, {"name": "health"}]
    return base


def column_schema(column: Column) -> Json:
    """JSON Schema of a column's values."""
    schema: Json = (
        {"type": column.logical_type} if column.sql_type == "jsonb" else dict(_TYPES.get(column.sql_type, {}))
    )
    notes = [_sentence(column.description)] if column.description else []
    if column.unit:
        schema["x-unit"] = column.unit
        notes.append(f"Unit: {column.unit} (UCUM).")
    if notes:
        schema["description"] = " ".join(notes)
    numeric = schema.get("type") in ("integer", "number")
    limits = {
        "minimum": column.minimum if numeric else None,
        "maximum": column.maximum if numeric else None,
        "minLength": column.min_length,
        "maxLength": column.max_length,
        "pattern": column.pattern,
    }
    schema |= {name: value for name, value in limits.items() if value is not None}
    if column.examples:
        schema["examples"] = list(column.examples)
    if column.enum:
        schema["enum"] = [*column.enum, *([None] if column.nullable else [])]
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def row_schema(dataset: Dataset) -> Json:
    """JSON Schema of a row. Nothing is required, for ``select`` may leave out any column."""
    return {
        "type": "object",
        "title": dataset.name,
        "description": dataset.description,
        "properties": {
            column.name: column_schema(column)
            for column in [*dataset.columns.values(), *dataset.system_columns.values()]
        },
        "additionalProperties": False,
    }


def _filter_parameter(column: Column) -> Json:
    example = column.examples[0] if column.examples else (column.enum[0] if column.enum else None)
    # not as an OpenAPI example: Swagger UI would send the examples of all columns at once
    notes = [_sentence(column.description), f"Unit: {column.unit}." if column.unit else ""]
    if column.sql_type in PARSERS:
        notes.append("Filter: `[not.]operator.value`" + (f", like `eq.{example}`." if example is not None else "."))
        pattern = rf"^(not\.)?({'|'.join(OPERATORS[:-1])})\."
    else:
        notes.append("Filter: `is.null` or `is.not_null`.")
        pattern = r"^(not\.)?is\.(not_)?null$"
    return {
        "name": column.name,
        "in": "query",
        "description": " ".join(filter(None, notes)),
        "schema": {"type": "string", "pattern": pattern},
    }


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _operation(dataset: Dataset, operation_id: str, summary: str, answer: str, schema: Json, headers: Json) -> Json:
    return {
        "operationId": f"{operation_id}_{dataset.name}",
        "tags": [dataset.name],
        "summary": summary,
        "description": dataset.description,
        "security": NEEDS_KEY,
        "deprecated": dataset.status == "deprecated",
        "responses": {
            "200": {"description": answer, "headers": headers, "content": {"application/json": {"schema": schema}}},
            "304": {"description": "The client's copy is current"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def _reference(*names: str) -> list[Json]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _page_operation(dataset: Dataset) -> Json:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/row.{dataset.name}"}}
    operation = _operation(dataset, "list", f"Rows of {dataset.name}", "One page of rows", rows, _PAGE_HEADERS)
    parameters = _reference(*_PARAMETERS)
    return operation | {"parameters": parameters + [_filter_parameter(column) for column in dataset.columns.values()]}


def _record_operation(dataset: Dataset) -> Json:
    row = {"$ref": f"#/components/schemas/row.{dataset.name}"}
    operation = _operation(dataset, "get", f"One record of {dataset.name}", "The record", row, _HEADERS)
    key: Json = {
        "name": "key",
        "in": "path",
        "required": True,
        "description": f"Values of {', '.join(dataset.key)}, separated by commas; a comma inside one is %2C",
        "schema": {"type": "string"},
    }
    return operation | {"parameters": [key, *_reference("select", "if-none-match")]}
