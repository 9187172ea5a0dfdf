"""A first contract, inferred from messages of a topic. Its comments say what is a guess and what to check."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pista.contracts.dataset import Format, Framing, LogicalType, Origin
from pista.contracts.expected import Expected, expect
from pista.contracts.guesses import Guess, is_personal
from pista.contracts.paths import write_source
from pista.contracts.problems import counted
from pista.contracts.sampled import Field, Message, Sample, flatten, read_sample
from pista.contracts.sampled_keys import mark_key
from pista.contracts.sampled_kinds import kinds_note

ENUM_MIN_RECORDS = 200  # fewer say nothing about the values to come
ENUM_MAX_VALUES = 10
ENUM_MIN_OCCURRENCES = 5  # of each value
TEXT_MAX_SHOWN = 40
NOT_PLAIN = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # words of YAML 1.1 and 1.2


class InferenceError(Exception):
    """The sample says too little for a contract."""


def infer_contract(
    name: str,
    topic: str,
    messages: Sequence[Message],
    message_format: Format = Format.JSON,
    framing: Framing = Framing.NONE,
    notes: Sequence[str] = (),
) -> str:
    """The text of a contract for messages given as (Kafka key, value); tombstones have the value None.

    Args:
        name: of the dataset.
        topic: where the messages are from.
        messages: keys and values made plain: JSON, or text for keys.
        message_format: how the values stood in the topic.
        framing: what stood before them.
        notes: sentences for the head of the contract.

    Raises:
        InferenceError: no message is a JSON object with a field that a column can hold.
    """
    sample = read_sample(messages)
    if not sample.rows:
        raise InferenceError(f"none of {len(messages)} sampled records of {topic} is a JSON object that says a row")
    fields = flatten(sample)
    keyed = mark_key(fields, sample)
    if sample.debezium and not keyed:  # of a table without primary key: its changes have no row to change
        sample = read_sample(messages, debezium=False)
        fields = flatten(sample)
        keyed = mark_key(fields, sample)
    expected, broken = expect(fields, sample)
    columns = [line for one in expected for line in _column(one, sample)]
    if not any(line.startswith("      - name:") for line in columns):
        raise InferenceError(f"no field of {len(sample.rows)} sampled records of {topic} has a type that is supported")
    mixed = kinds_note(fields, sample) if not sample.debezium else None
    announced = (
        f"CHECK: {broken} of the {counted(len(sample.rows), 'sampled row')} will go to quarantine, for they have "
        "values that a column does not take, or lack what it requires."
    )
    said = [*notes, *([mixed] if mixed else []), *([announced] if broken else [])]
    head = _header(name, topic, sample, fields, keyed, said)
    return "\n".join([*head, *_topic(name, topic, sample, fields, message_format, framing), *columns, ""])


def _header(name: str, topic: str, sample: Sample, fields: list[Field], keyed: str, notes: Sequence[str]) -> list[str]:
    key = ", ".join(f.name for f in sorted(fields, key=lambda f: f.position) if f.position)
    unreadable = f", {sample.unreadable} of them no JSON objects" if sample.unreadable else ""
    kind = (
        f"One row a {key}: {keyed}." if keyed else "Every message is a row of its own; mark key columns to keep states."
    )
    lost = "# Messages without value delete rows, but nothing says of which key: they will be in quarantine."
    return [
        f"# Inferred from {sample.count} records of the topic {topic}{unreadable}.",
        f"# Read it, correct it, run `pista dataset check {name}`, then `pista apply`.",
        f"# {kind}",
        *([lost] if sample.deleted and not keyed else []),
        *(f"# {note}" for note in notes),
        "apiVersion: v3.2.0",
        "kind: DataContract",
        f"id: {_word(name)}",
        f"name: {_word(name)}",
        "version: 1.0.0",
        "status: active",
        "# domain: groups datasets in the catalog and in Dagster",
        "description:",
        f"  purpose: {_quoted(f'Records of the topic {topic}.')} # say what a row is and what it is good for",
        "# team: {name: who-owns-it}",
    ]


def _topic(
    name: str, topic: str, sample: Sample, fields: list[Field], message_format: Format, framing: Framing
) -> list[str]:
    server = f"{{server: kafka, type: kafka, host: localhost:9092, format: {message_format}}}"
    said = []
    if framing is not Framing.NONE:
        said.append(f"  - {{property: framing, value: {framing}}}")
    if sample.debezium:
        said.append("  - {property: envelope, value: debezium} # every sampled value is a change event")
    times = [f.name for f in fields if f.name.endswith(("event_time", "updated_at", "modified_at"))]
    order = [
        "# Which event of a key is newer: by place in the topic, unless a required column says it better.",
        *([] if said else ["# customProperties:"]),
        f"#   - {{property: ordering, value: {times[0] if times else 'updated_at'}}}",
    ]
    return [
        "servers:",
        f"  - {server} # the address is PISTA_KAFKA_BOOTSTRAP's",
        *(["customProperties:", *said] if said else []),
        *(order if any(f.position for f in fields) else []),
        "schema:",
        f"  - name: {_word(name)}",
        f"    physicalName: {_quoted(topic)}",
        "    properties:",
    ]


def _column(one: Expected, sample: Sample) -> list[str]:
    f, guessed, count = one.field, one.guess, len(sample.rows)
    if guessed.refused is not None:
        shown = _quoted(f.label) if f.label.isprintable() else ascii(f.label)
        return [f"      # The field {shown} is left out: {guessed.refused}.", *_instead(one)]
    lines = [f"      - name: {_word(f.name)}"]
    whole = _is_whole(f)
    if whole and f.steps[0] != f.name:
        lines.append(f"        physicalName: {_quoted(str(f.steps[0]))}")
    lines.append(f"        logicalType: {guessed.kind}{f' # {guessed.comment}' if guessed.comment else ''}")
    if one.odd:
        lines.append(f"        # CHECK: {_odd(f, one.odd)}")
    if guessed.options:
        lines.append(f"        logicalTypeOptions: {guessed.options}")
    if f.position:
        lines += ["        primaryKey: true", f"        primaryKeyPosition: {f.position}"]
    if one.required:
        lacking = f", but for {one.lacking} that {'is' if one.lacking == 1 else 'are'} broken" if one.lacking else ""
        lines.append(f"        required: true # none of {counted(count, 'record')} lacks it{lacking}")
    properties = {} if whole else {"source": write_source(f.steps, f.origin)}
    properties |= {"coerce": guessed.coerce.value} if guessed.coerce else {}
    properties |= {"format": guessed.form} if guessed.form else {}
    lines += _properties(properties)
    return lines + _described(f, guessed)


def _odd(f: Field, odd: list[Any]) -> str:
    """How many values the column takes, and what becomes of the others."""
    first = odd[0]
    telling = _showable(first) and not isinstance(first, dict | list) and not is_personal(f)
    others = "the other goes" if len(odd) == 1 else f"the other {len(odd)} go"
    example = f", such as {json.dumps(first)}" if telling else ""
    return f"so are {len(f.values)} of {len(f.values) + len(odd)} sampled values; {others} to quarantine{example}"


def _instead(one: Expected) -> list[str]:
    """The column to write for those of a field's values that are of one type, where they are of several."""
    if one.most is None:
        return []
    f, (kind, count) = one.field, one.most
    if not _is_whole(f):
        place = f", customProperties: [{{property: source, value: {_quoted(write_source(f.steps, f.origin))}}}]"
    else:
        place = f", physicalName: {_quoted(str(f.steps[0]))}" if f.steps[0] != f.name else ""
    return [
        f"      # To keep the {count} and have the others in quarantine, write:",
        f"      # - {{name: {_word(f.name)}, logicalType: {kind}{place}}}",
    ]


def _is_whole(f: Field) -> bool:
    """Whether it stands at the top of the value."""
    return f.origin is Origin.VALUE and len(f.steps) == 1


def _properties(properties: dict[str, str]) -> list[str]:
    if not properties:
        return []
    items = [f"          - {{property: {name}, value: {_quoted(value)}}}" for name, value in properties.items()]
    return ["        customProperties:", *items]


def _described(f: Field, guessed: Guess) -> list[str]:
    """Values for readers, or why they are not shown."""
    if is_personal(f):
        if f.position:
            return ["        # CHECK: looks personal. The custom property pii: hash keeps it out of all tables."]
        return [
            "        classification: pii # looks personal: not served. The custom property pii also drops or hashes it"
        ]
    nested = guessed.kind in (LogicalType.OBJECT, LogicalType.ARRAY)
    plain = guessed.kind is LogicalType.STRING and f.kinds() == {str}
    values = _enum(f) if plain else []
    if values:
        lines = [f"        enum: # all that {len(f.values)} records hold; any other value is refused"]
        return lines + [f"          - {{value: {_quoted(value)}}}" for value in values]
    as_served = not nested and guessed.coerce is None and guessed.form is None
    shown = [json.dumps(v, ensure_ascii=False) for v in f.values if _showable(v)] if as_served else []
    examples = list(dict.fromkeys(shown))[:2]
    return [f"        examples: [{', '.join(examples)}]"] if examples else []


def _enum(f: Field) -> list[str]:
    """The values of a text that has few of them and each of them often; none if that is not clear."""
    counts = Counter(f.values)
    clear = (
        not f.position
        and len(f.values) >= ENUM_MIN_RECORDS
        and 2 <= len(counts) <= ENUM_MAX_VALUES
        and min(counts.values()) >= ENUM_MIN_OCCURRENCES
        and all(_showable(value) for value in counts)
    )
    return sorted(counts) if clear else []


def _showable(value: object) -> bool:
    return not isinstance(value, str) or (value.isprintable() and 0 < len(value) <= TEXT_MAX_SHOWN)


def _quoted(text: str) -> str:
    """Double-quoted YAML, which JSON is; only for printable text."""
    return json.dumps(text, ensure_ascii=False)


def _word(name: str) -> str:
    """A name, in quotes where it would be read as something else."""
    return _quoted(name) if name in NOT_PLAIN else name
