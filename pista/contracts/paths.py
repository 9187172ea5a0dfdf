"""Where in a record a value stands: a path into its value, its key, its headers or what the broker says of it.

``flight.legs[0].id`` is a path into the value. ``key`` is the whole Kafka key and ``key.a.b`` a path into it,
``header.NAME`` a header, ``record.timestamp`` what the broker says. A name that holds anything but dots' own
separators goes into double quotes, as a JSON string: ``"flight.no"``, ``header."x.trace"``, ``"key"``.
"""

import json
import re
from dataclasses import dataclass

from pista.contracts.dataset import Column, Filter, Origin
from pista.contracts.document import Place
from pista.contracts.problems import did_you_mean, shown

RECORD_FIELDS = ("timestamp", "topic", "partition", "offset")
STEP = re.compile(r'"(?:[^"\\]|\\.)*"|\[\d+\]|[^.\[\]"\s]+')
SYNTAX = 'such as flight.legs[0].id, "a name.with dots".id, key, key.id, header.trace-id or record.timestamp'

Step = str | int


@dataclass(frozen=True, slots=True)
class Source:
    """A place in a record. A field at the top of the value has the path () and its name as text."""

    text: str  # as sentences call it
    origin: Origin
    path: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The way from the origin to the value, whole."""
        return (self.text,) if self.origin is Origin.VALUE and not self.path else self.path

    def holds(self, other: "Source") -> bool:
        """Whether the other place is this one or within it."""
        return self.origin is other.origin and other.steps[: len(self.steps)] == self.steps


def source_of(reader: Column | Filter) -> Source:
    """The place that a column or a filter reads."""
    return Source(reader.source, reader.origin, reader.path)


def parse_source(text: object, place: Place) -> Source | None:
    """The place that the text names; None, with a problem written down at ``place``, if it names none."""
    if not isinstance(text, str) or (steps := _steps(text)) is None:
        place.refuse(f"{shown(text)} is no place in a record; write a path {SYNTAX}")
        return None
    first, *rest = steps
    if text.startswith('"') or first not in set(Origin) - {Origin.VALUE}:
        if isinstance(first, int):
            place.refuse(f"{shown(text)}: a value is one JSON object, so a path into it starts with a field's name")
            return None
        return Source(text, Origin.VALUE, steps) if rest else Source(first, Origin.VALUE, ())
    if first == Origin.KEY:
        if rest and isinstance(rest[0], int):
            place.refuse(f"{shown(text)}: a path into a key starts with a field's name, such as key.id")
            return None
        return Source(text, Origin.KEY, tuple(rest))
    if len(rest) != 1 or not isinstance(rest[0], str):
        example = 'header.trace-id or header."trace.id"' if first == Origin.HEADER else "record.timestamp"
        place.refuse(f'{shown(text)}: must be {example}; a field of the value that has this name is "{first}"')
        return None
    if first == Origin.RECORD and rest[0] not in RECORD_FIELDS:
        place.refuse(f"{shown(text)}: a record has no {rest[0]}; {did_you_mean(rest[0], RECORD_FIELDS)}")
        return None
    return Source(text, Origin(str(first)), tuple(rest))


def write_source(steps: tuple[Step, ...], origin: Origin = Origin.VALUE) -> str:
    """The text that ``parse_source`` reads as these steps."""
    text = "" if origin is Origin.VALUE else origin.value
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        plain = STEP.fullmatch(step) and not step.startswith(('"', "["))
        reserved = not text and step in set(Origin) - {Origin.VALUE}
        name = step if plain and not reserved else json.dumps(step, ensure_ascii=False)
        text += f".{name}" if text else name
    return text


def _steps(text: str) -> tuple[Step, ...] | None:
    """Names and indices of a path; None if it is none."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        if steps and text[position] == ".":
            position += 1
            if text[position : position + 1] == "[":
                return None
        elif steps and text[position] != "[":
            return None
        match = STEP.match(text, position)
        if match is None:
            return None
        word, position = match.group(), match.end()
        if word.startswith('"'):
            try:
                word = json.loads(word)
            except json.JSONDecodeError:
                return None
            if not word:
                return None
            steps.append(word)
        else:
            steps.append(int(word[1:-1]) if word.startswith("[") else word)
    return tuple(steps) or None
