"""What most values of a sampled field are, where a few are broken: a contract is for most, the few are quarantined."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from pista.contracts.dataset import LogicalType
from pista.contracts.guesses import (
    DATE,
    FORMATTED,
    LOCAL_TIME,
    NUMBER,
    OFFSET_TIME,
    TRUTHS,
    Guess,
    all_texts,
    fits,
    guess,
    holds_null_character,
    instant,
)
from pista.contracts.sampled import Field, is_few


def judge(f: Field, debezium: bool = False) -> tuple[Guess, list[int]]:
    """The narrowest type that takes every value but a few, and which of them it does not take, by their place."""
    whole = guess(f, debezium)
    if whole.refused is None and not _is_plain(whole):
        return whole, []
    said = sum(value != "" for value in f.values)
    for takes in IN_KEY if f.position else FORMS:
        odd = [place for place, value in enumerate(f.values) if not takes(value) or holds_null_character(value)]
        if not odd or not is_few(len(odd), said):
            continue
        found = guess(without(f, odd), debezium)
        if found.refused is None and (whole.refused is not None or not _is_plain(found)):
            return found, odd
    return whole, []


def without(f: Field, places: list[int]) -> Field:
    """The field without the values at these places."""
    gone = set(places)
    kept = [place for place in range(len(f.values)) if place not in gone]
    return replace(f, values=[f.values[place] for place in kept], rows=[f.rows[place] for place in kept])


def _is_plain(found: Guess) -> bool:
    return found.kind is LogicalType.STRING


def _is_number(value: Any) -> bool:
    return type(value) is float or _is_integer(value)


def _is_integer(value: Any) -> bool:
    return type(value) is int and fits(value)


def _type(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _text(takes: Callable[[str], object]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(takes(value))


def _is_number_in_text(text: str) -> bool:
    if NUMBER.fullmatch(text) is None:
        return text == ""
    return abs(float(text)) < float("inf") if re.search("[.eE]", text) else fits(int(text))


# from narrow to wide; each takes values that one column can hold
FORMS: tuple[Callable[[Any], bool], ...] = (
    _is_number,
    _type(bool),
    lambda value: _is_number(value) or _text(_is_number_in_text)(value),
    lambda value: isinstance(value, bool) or value in ("", *TRUTHS),
    _text(lambda text: all_texts([text], DATE.fullmatch, date.fromisoformat)),
    _text(lambda text: all_texts([text], OFFSET_TIME.fullmatch, instant)),
    _text(lambda text: all_texts([text], LOCAL_TIME.fullmatch, datetime.fromisoformat)),
    _text(FORMATTED.fullmatch),
    _type(list),
    _type(dict),
    _type(str),
)
IN_KEY: tuple[Callable[[Any], bool], ...] = (_is_integer, lambda value: isinstance(value, str) and value != "")
