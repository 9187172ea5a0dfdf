"""The Open Data Contract Standard's own rules: its JSON Schema, with errors that name the way out.

The standard's pydantic models drop a misspelt field in silence; its JSON Schema refuses it.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft201909Validator
from jsonschema.exceptions import ValidationError, best_match

from pista.contracts.document import Document, FieldPath, Place
from pista.contracts.problems import did_you_mean, either, shown

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
TYPE_NAMES = {
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@lru_cache(maxsize=1)
def validator() -> Draft201909Validator:
    """The JSON Schema that the installed version of the standard ships."""
    text = files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    # the standard lists the parts of a description, but leaves the list open
    schema["properties"]["description"]["additionalProperties"] = False
    return Draft201909Validator(schema)


def check_standard(document: Document) -> None:
    """Write down all that the standard has against the document, once for each place."""
    seen: set[tuple[FieldPath, str]] = set()
    for place in _untyped(document):
        place.refuse("the field logicalType is missing")
        seen.add((place.path, ""))
    for error in validator().iter_errors(document.data):
        for path, message in _explain(error):
            if (path, message) not in seen and not any((path[:end], "") in seen for end in range(len(path) + 1)):
                seen.add((path, message))
                document.refuse(path, message)


def _untyped(document: Document) -> list[Place]:
    """Columns without type: the standard's conditions then take them for every type at once."""
    elements = document.root()["schema"]
    return [
        place
        for element in elements
        for place in element["properties"]
        if isinstance(place.value, dict) and "logicalType" not in place.value
    ]


def _explain(error: ValidationError) -> Iterator[tuple[FieldPath, str]]:
    path, rule = tuple(error.absolute_path), str(error.validator)
    value: Any = error.instance
    wanted: Any = error.validator_value
    if rule in ("unevaluatedProperties", "additionalProperties"):
        # An error inside a branch makes jsonschema call every field of that branch unknown, so look them up.
        known = sorted(set(_known_fields(error.schema, value)))
        for name in value:
            if name not in known:
                yield (*path, name), f"unknown field, here {shown(value[name])}; {did_you_mean(name, known)}"
    elif rule == "required":
        yield from ((path, f"the field {name} is missing") for name in wanted if name not in value)
    elif rule == "oneOf" and len(wanted) == len(OPERATORS):
        yield from _explain_operator(error, path)
    elif rule in ("oneOf", "anyOf") and error.context:
        # What is wrong within the branch of the right type says more than the other branches' types.
        inner = [part for part in error.context if part.path or part.validator != "type"]
        for part in inner or [best_match(error.context)]:
            yield from _explain(part)
    elif rule == "enum":
        choices = [str(choice) for choice in wanted]
        yield path, f"{shown(value)}: {did_you_mean(str(value), choices)}"
    elif rule == "type":
        yield path, _explain_type(wanted, value)
    elif rule == "uniqueItems":
        yield path, "holds the same element twice; remove one"
    else:
        yield path, error.message


def _explain_type(wanted: Any, value: object) -> str:
    kinds = wanted if isinstance(wanted, list) else [wanted]
    quote = "; put it in quotes" if kinds == ["string"] and isinstance(value, int | float) else ""
    return f"must be {either(TYPE_NAMES[kind] for kind in kinds)}, not {shown(value)}{quote}"


def _explain_operator(error: ValidationError, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    instance: Any = error.instance
    present = [name for name in OPERATORS if name in instance]
    if len(present) != 1:
        found = f"not {' and '.join(present)}" if present else "and has none"
        yield path, f"a rule has exactly one of {', '.join(OPERATORS)}, {found}"
    for branch in error.context or ():
        if len(present) == 1 and tuple(branch.absolute_path)[len(path) :][:1] == (present[0],):
            yield from _explain(branch)


def _known_fields(schema: Any, instance: object) -> Iterator[str]:
    """Names of the fields that the schema has for this instance, through references and conditions."""
    if not isinstance(schema, Mapping):
        return
    yield from schema.get("properties", ())
    if "$ref" in schema:
        yield from _known_fields(_resolve(schema["$ref"]), instance)
    for part in (*schema.get("allOf", ()), *schema.get("oneOf", ())):
        yield from _known_fields(part, instance)
    if "if" in schema and validator().evolve(schema=schema["if"]).is_valid(instance):
        yield from _known_fields(schema.get("then"), instance)


def _resolve(reference: str) -> Any:
    value: Any = validator().schema
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return value
