"""What a contract may expect of each field, and which sampled rows it would not take: those that are broken."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pista.contracts.dataset import LogicalType, Origin
from pista.contracts.guesses import Guess, guess
from pista.contracts.majority import judge, without
from pista.contracts.sampled import Field, Sample, is_few


@dataclass(frozen=True, slots=True)
class Expected:
    """A field and what its column would say."""

    field: Field  # without the odd values
    guess: Guess
    odd: list[Any]  # values that the column does not take
    required: bool
    lacking: int  # rows that lack it all the same
    most: tuple[LogicalType, int] | None  # of a field of several types: what most values are, and how many


def expect(fields: Sequence[Field], sample: Sample) -> tuple[list[Expected], int]:
    """What to expect of each field, and how many rows of the sample do not fit."""
    judged = [(f, *judge(f, sample.debezium)) for f in fields]
    odd_rows = {f.rows[place] for f, _, odd in judged for place in odd}
    broken = odd_rows | _strays(fields, sample)
    for f in fields:  # nothing can be done with a record that lacks its key
        broken |= _lacking(f, sample) if f.position and f.origin is Origin.VALUE else set()
    unfit = set(odd_rows)
    found = []
    for f, guessed, odd in judged:
        lacking = _lacking(f, sample)
        required = guessed.refused is None and not guessed.blank and lacking <= broken
        unfit |= lacking if required else set()
        values = [f.values[place] for place in odd]
        kept = without(f, odd) if odd else f
        found.append(Expected(kept, guessed, values, required, len(lacking), _most(f) if guessed.refused else None))
    return found, len(unfit)


def _lacking(f: Field, sample: Sample) -> set[int]:
    return set(range(len(sample.rows))) - set(f.rows)


def _strays(fields: Sequence[Field], sample: Sample) -> set[int]:
    """The few rows that have none of the fields that most have: they are something else."""
    usual = [_lacking(f, sample) for f in fields if is_few(len(_lacking(f, sample)), len(sample.rows))]
    found = set.intersection(*usual) if usual else set()
    return found if is_few(len(found), len(sample.rows)) else set()


def _most(f: Field) -> tuple[LogicalType, int] | None:
    """What most values are, where a column could hold these."""
    kinds = Counter(type(value) for value in f.values)
    if len(kinds) < 2:
        return None
    kind, count = kinds.most_common(1)[0]
    others = [place for place, value in enumerate(f.values) if type(value) is not kind]
    found = guess(without(f, others))
    plain = found.refused is None and found.coerce is None and found.form is None and not found.options
    return (found.kind, count) if plain else None
