"""The contract's ``quality`` becomes rules; text rules are for readers and become none."""

import re
from collections.abc import Iterator

from pista.contracts.dataset import QualityRule, Severity
from pista.contracts.document import Place
from pista.contracts.names import IDENTIFIER
from pista.contracts.problems import did_you_mean, either, shown
from pista.contracts.sql import embeddable, select_problem
from pista.contracts.standard import OPERATORS

# metric: (where it may stand, its arguments)
METRICS = {
    "nullValues": (("column",), ()),
    "missingValues": (("column",), ("missingValues",)),
    "invalidValues": (("column",), ("validValues", "pattern")),
    "duplicateValues": (("table", "column"), ("properties",)),
    "rowCount": (("table",), ()),
}
UNITS = ("rows", "percent")
PLACEHOLDERS = {"table": "{table}", "object": "{table}", "column": "{column}", "property": "{column}"}
NAME_MAX = 100


def read_quality(table: Place, columns: list[str]) -> tuple[QualityRule, ...]:
    """Rules of the table and of its columns, with unique names."""
    rules: dict[str, QualityRule] = {}
    for place, column in _places(table):
        if place.broken:
            continue
        rule = _rule(place, column, columns)
        if rule is None:
            continue
        if rule.name in rules:
            place.refuse(f"a second rule is named {rule.name}; give each a name of its own")
        rules[rule.name] = rule
    return tuple(rules.values())


def _places(table: Place) -> Iterator[tuple[Place, str | None]]:
    for place in table["quality"]:
        yield place, None
    for prop in table["properties"]:
        for place in prop["quality"]:
            yield place, prop["name"].value


def _rule(place: Place, column: str | None, columns: list[str]) -> QualityRule | None:
    kind = place["type"].value or "library"
    if kind == "text":
        return None
    if kind == "custom":
        place["type"].refuse("custom rules are not supported; must be library, sql or text")
        return None
    operator = next(name for name in OPERATORS if name in place.value)
    severity, unit = place["severity"].value or "error", place["unit"].value or "rows"
    if severity not in set(Severity):
        place["severity"].refuse(f"{place['severity'].shown}: must be {either(Severity)}")
        severity = "error"
    if unit not in UNITS:
        place["unit"].refuse(f"{place['unit'].shown}: must be {either(UNITS)}")
    _check_threshold(place[operator])
    query = _query(place["query"], column) if kind == "sql" else None
    metric = place["metric"].value if kind == "library" else None
    if metric is not None:
        _check_metric(place, metric, column, columns, unit)
    elif unit != "rows":
        place["unit"].refuse("a query returns its number as it is; only a metric can be percent")
    name = place["name"].value
    if name is None and kind == "sql":
        place.refuse("a SQL rule needs a name")
    elif name is not None and not (IDENTIFIER.match(name) and len(name) <= NAME_MAX):
        place["name"].refuse(f"{shown(name)}: must be snake_case of at most {NAME_MAX} characters, such as has_rows")
    return QualityRule(
        name=name or _derived_name(column, metric, operator, place[operator].value, unit),
        description=(place["description"].value or "").strip(),
        severity=Severity(severity),
        column=column,
        metric=metric,
        query=query,
        arguments=place["arguments"].value or {},
        operator=operator,
        threshold=place[operator].value,
        unit=unit,
    )


def _check_threshold(place: Place) -> None:
    numbers = place.value if isinstance(place.value, list) else [place.value]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        place.refuse(f"{place.shown}: must be a number, for that is what a rule measures")
    elif numbers != sorted(numbers):
        place.refuse(f"{place.shown}: the lower number comes first")


def _check_metric(place: Place, metric: str, column: str | None, columns: list[str], unit: str) -> None:
    levels, known = METRICS[metric]
    if ("table" if column is None else "column") not in levels:
        place["metric"].refuse(f"{metric} belongs to the quality of a {either(levels)}")
    if metric in ("rowCount", "duplicateValues") and unit == "percent":
        place["unit"].refuse(f"{metric} is counted in rows")
    arguments = place["arguments"]
    for name, value in arguments.fields():
        if name not in known:
            value.refuse(f"{metric} has no such argument; {did_you_mean(name, known)}")
        else:
            _check_argument(name, value, columns)
    given = [name for name in known if name in (arguments.value or ())]
    if metric == "duplicateValues" and column is not None and given:
        arguments["properties"].refuse("belongs to the quality of the table; here the column is meant")
    elif known and not given and not (metric == "duplicateValues" and column is not None):
        place.refuse(f"{metric} needs arguments: {either(known)}")


def _check_argument(name: str, value: Place, columns: list[str]) -> None:
    if name == "pattern":
        _check_pattern(value)
    elif not isinstance(value.value, list) or not value.value:
        value.refuse(f"{value.shown}: must be a list of at least one value")
    elif name == "properties":
        for item in value:
            if item.value not in columns:
                item.refuse(f"{item.shown} is no column; {did_you_mean(str(item.value), columns)}")


def _check_pattern(place: Place) -> None:
    try:
        re.compile(place.value)
    except (re.error, TypeError) as error:
        place.refuse(f"{place.shown} is no regular expression: {error}")


def _query(place: Place, column: str | None) -> str:
    """The query with the standard's placeholders (``${object}``, ``${property}``) under their names here."""

    def replace(match: re.Match[str]) -> str:
        word = match.group(1)
        if word not in PLACEHOLDERS or (column is None and PLACEHOLDERS[word] == "{column}"):
            valid = "{table}" if column is None else "{table} or {column}"
            place.refuse(f"{match.group(0)} is no placeholder here; must be {valid}")
        return PLACEHOLDERS.get(word, match.group(0))

    if (reason := select_problem(place.value)) is not None:
        place.refuse(reason)
    return re.sub(r"\$?\{([A-Za-z_]+)\}", replace, embeddable(place.value))


def _derived_name(column: str | None, metric: str | None, operator: str, threshold: object, unit: str) -> str:
    """An assertion in snake_case, such as ``tailnum_null_values_must_be_less_than_5_percent``."""
    numbers = threshold if isinstance(threshold, list) else [threshold]
    words = [column or "", metric or "", operator, *(str(n).replace("-", "minus_") for n in numbers)]
    text = "_".join([*filter(None, words), *(["percent"] if unit == "percent" else [])])
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return re.sub(r"[^a-z0-9]+", "_", snake)
