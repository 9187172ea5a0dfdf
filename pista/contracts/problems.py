"""What is wrong with contracts, said so that its reader can put it right."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it stands, what stands there, and what would be valid."""

    file: Path
    line: int  # counts from 1; 0 where the trouble is with the file as a whole
    field: str  # such as schema[flights].properties[tailnum].required; empty for the whole file
    value: object
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ContractError(Exception):
    """Every problem of every contract in the folder; nothing of the folder is used before all are solved."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems in the order of a reader: by file, then by line."""
        self.problems: list[Problem] = sorted(problems, key=lambda p: (str(p.file), p.line))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        files = len({problem.file for problem in self.problems})
        return "\n".join(
            [
                f"{counted(count, 'problem')} in {counted(files, 'file')}:",
                *(f"  {problem}" for problem in self.problems),
            ]
        )


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as ``1 record`` or ``2 records``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(value: object, limit: int = 60) -> str:
    """The value as it is shown in a message: YAML's words for nothing and truth, long text cut."""
    words = {None: "nothing", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def either(names: Iterable[object]) -> str:
    """Valid choices as text: ``a, b or c``."""
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A sentence that names the nearest known word, or the known words if none is near."""
    if not known:
        return "nothing is valid here"
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"valid: {', '.join(sorted(known))}" if len(known) <= 40 else f"{len(known)} others are known, none like it"
