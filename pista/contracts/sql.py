"""What a contract's SQL must be: one SELECT. The database has the last word when it runs."""

import re

# Line comments, block comments, quoted text and dollar-quoted text: nothing in them is a word of the statement.
_OPAQUE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_RELATION = re.compile(r'\b(?:from|join)\s+(?:only\s+)?"?([a-z_][a-z0-9_]*)\b"?(?!\s*[.(])', re.IGNORECASE)
_EXPRESSION = re.compile(
    r'(?:\bwith(?:\s+recursive)?|,)\s+"?([a-z_][a-z0-9_]*)"?\s*(?:\([^)]*\)\s*)?as\s+(?:not\s+)?(?:materialized\s*)?\(',
    re.IGNORECASE,
)


def bare(sql: str) -> str:
    """The statement without comments and literals."""
    return _OPAQUE.sub(" ", sql).strip()


def select_problem(sql: str) -> str | None:
    """Why the text is not one SELECT; None if it looks like one."""
    statement = bare(sql).removesuffix(";").strip()
    if not re.match(r"(?:select|with)\b", statement, re.IGNORECASE):
        return "must be one SELECT (or WITH ... SELECT)"
    if ";" in statement:
        return "holds more than one statement; it must be one SELECT"
    return None


def relations(sql: str) -> set[str]:
    """Unqualified names of tables after FROM and JOIN; common table expressions are none."""
    statement = bare(sql)
    expressions = {match.group(1).lower() for match in _EXPRESSION.finditer(statement)}
    return {match.group(1).lower() for match in _RELATION.finditer(statement)} - expressions


def mentions(sql: str, name: str) -> bool:
    """Whether the statement has that name as a word."""
    return re.search(rf"\b{re.escape(name)}\b", bare(sql)) is not None
