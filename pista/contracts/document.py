"""YAML 1.2, read strictly and with the line of every value.

Plain scalars follow the core schema of YAML 1.2, whatever the file declares: ``NO`` is text and only
``true`` and ``false`` are truth values. Duplicate keys, tags and merge keys are refused; anchors are not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from pista.contracts.problems import Problem, shown

FieldPath = tuple[str | int, ...]

# https://yaml.org/spec/1.2.2/#103-core-schema
CORE_SCHEMA = (
    (re.compile(r"(null|Null|NULL|~|)\Z"), lambda text: None),
    (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+\Z"), int),
    (re.compile(r"0o[0-7]+\Z"), lambda text: int(text, base=0)),
    (re.compile(r"0x[0-9a-fA-F]+\Z"), lambda text: int(text, base=0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"), lambda text: float(text.replace(".", ""))),
)
DEEPEST = 50  # levels; the standard needs a dozen, and Python has an end


@dataclass
class Document:
    """A file's content as plain values, where each stands, and what was found wrong with it."""

    file: Path
    data: Any = None
    lines: dict[FieldPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: FieldPath) -> int:
        """The line of that field, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def label(self, path: FieldPath) -> str:
        """The path as text; an element of a list goes by its name where it has one."""
        text, value = "", self.data
        for step in path:
            value = _child(value, step)
            if isinstance(step, str):
                text += f".{step}" if text else step
            else:
                name = next((n for key in ("name", "property") if isinstance(n := _child(value, key), str)), step)
                text += f"[{name}]"
        return text

    def refuse(self, path: FieldPath, message: str, line: int | None = None) -> None:
        """Write down a problem with that field."""
        value = self.data
        for step in path:
            value = _child(value, step)
        self.problems.append(Problem(self.file, line or self.line(path), self.label(path), value, message))

    def broken(self, path: FieldPath) -> bool:
        """Whether something at or below that field was refused."""
        label = self.label(path)
        return any(p.field == label or p.field.startswith((label + ".", label + "[")) for p in self.problems)

    def root(self) -> "Place":
        """The whole document as a place."""
        return Place(self, (), self.data)


@dataclass(frozen=True, slots=True)
class Place:
    """A value of a document together with where it stands. What is absent is a place with the value None."""

    document: Document
    path: FieldPath
    value: Any

    def __getitem__(self, key: str | int) -> "Place":
        return Place(self.document, (*self.path, key), _child(self.value, key))

    def __iter__(self) -> "Iterator[Place]":
        """The elements of a list; none of anything else."""
        for index in range(len(self.value) if isinstance(self.value, list) else 0):
            yield self[index]

    def fields(self) -> "Iterator[tuple[str, Place]]":
        """The fields of a mapping; none of anything else."""
        for key in self.value if isinstance(self.value, dict) else ():
            yield key, self[key]

    def refuse(self, message: str) -> None:
        """Write down a problem with this place."""
        self.document.refuse(self.path, message)

    @property
    def broken(self) -> bool:
        """Whether something at or below this place was refused."""
        return self.document.broken(self.path)

    @property
    def shown(self) -> str:
        """The value as a message shows it."""
        return shown(self.value)


def read_document(file: Path) -> Document:
    """Read a YAML file; what cannot be read is among the document's problems, never an exception."""
    document = Document(file)
    try:
        text = file.read_bytes().decode("utf-8")
        events = YAML(typ="safe", pure=True).parse(text)
        _Builder(document).build(events)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        document.refuse((), f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8", line)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        where = f" (column {mark.column + 1})" if mark else ""
        document.refuse((), f"not YAML: {reason}{where}", mark.line + 1 if mark else 1)
    except YAMLError as error:
        document.refuse((), f"not YAML: {' '.join(str(error).split())}")
    if not document.problems and not isinstance(document.data, dict):
        document.refuse((), "is no contract: the file must hold a mapping of fields")
    return document


@dataclass(slots=True)
class _Node:
    value: Any
    line: int
    children: "dict[str | int, tuple[int, _Node]]"  # by key or index: its line and node


class _Builder:
    """Turns parser events into values and their lines."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, _Node] = {}

    def build(self, events: Iterator[Event]) -> None:
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.document.refuse((), "holds a second document; one file is one contract", _line(event))
                    return
            elif isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                root = self._node(event, events, ())
                self.document.data = root.value
                self._place(root, (), root.line)

    def _node(self, event: Event, events: Iterator[Event], path: FieldPath) -> _Node:
        if isinstance(event, AliasEvent):
            if event.anchor in self.anchors:
                return self.anchors[event.anchor]
            self._refuse(path, f"*{event.anchor} refers to no anchor that is complete before it", event)
            return _Node(None, _line(event), {})
        if not isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
            raise TypeError(f"a value cannot start with {event!r}")
        if event.tag is not None:
            self._refuse(path, f"has the tag {event.tag}; tags are not supported, quote text instead", event)
        if len(path) >= DEEPEST and not isinstance(event, ScalarEvent):
            self._refuse((), f"is nested too deep here: at most {DEEPEST} levels are valid", event)
            _skip(events)
            return _Node(None, _line(event), {})
        if isinstance(event, MappingStartEvent):
            node = self._mapping(event, events, path)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, events, path)
        else:
            node = _Node(self._scalar(event, path), _line(event), {})
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _mapping(self, start: Event, events: Iterator[Event], path: FieldPath) -> _Node:
        node = _Node({}, _line(start), {})
        while not isinstance(event := next(events), MappingEndEvent):
            key_node = self._node(event, events, path)
            key = event.value if isinstance(event, ScalarEvent) else str(key_node.value)
            value = self._node(next(events), events, (*path, key))
            if not isinstance(event, ScalarEvent):
                self._refuse(path, f"the key {shown(key_node.value)} is no plain text", event)
            elif key == "<<" and event.style is None:
                self._refuse((*path, key), "merge keys are not part of YAML 1.2; repeat the fields", event)
            elif key in node.value:
                first = node.children[key][0]
                self._refuse((*path, key), f"stands twice, first on line {first}; remove one", event)
            else:
                node.value[key] = value.value
                node.children[key] = (_line(event), value)
        return node

    def _sequence(self, start: Event, events: Iterator[Event], path: FieldPath) -> _Node:
        node = _Node([], _line(start), {})
        while not isinstance(event := next(events), SequenceEndEvent):
            index = len(node.value)
            item = self._node(event, events, (*path, index))
            node.value.append(item.value)
            node.children[index] = (_line(event), item)
        return node

    def _scalar(self, event: ScalarEvent, path: FieldPath) -> object:
        try:
            return _scalar(event)
        except ValueError:  # Python reads no whole number of more than 4,300 digits
            self._refuse(
                path, f"{shown(event.value)} is no number that can be read; put it in quotes if it is text", event
            )
            return None

    def _place(self, node: _Node, path: FieldPath, line: int) -> None:
        self.document.lines[path] = line
        for step, (child_line, child) in node.children.items():
            self._place(child, (*path, step), child_line)

    def _refuse(self, path: FieldPath, message: str, event: Event) -> None:
        self.document.refuse(path, message, _line(event))


def _skip(events: Iterator[Event]) -> None:
    """Pass the rest of a collection whose start was read."""
    depth = 1
    while depth:
        event = next(events)
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: ScalarEvent) -> object:
    text = str(event.value)
    if event.style is not None:
        return text
    for pattern, convert in CORE_SCHEMA:
        if pattern.match(text):
            return convert(text)
    return text


def _child(value: object, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None
