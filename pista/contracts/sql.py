"""What a contract's SQL must be: one SELECT. The database has the last word when it runs."""

import re

# As PostgreSQL reads a statement: https://www.postgresql.org/docs/18/sql-syntax-lexical.html. Only a reading that
# agrees with the server's knows where a literal ends, and so which semicolon separates statements.
# Comments within comments are no token here and are refused.
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n\r]* | /\*(?:(?!/\*).)*?\*/ )
    | (?P<literal>
        [eE]'(?:[^'\\]|\\.|'')*' (?: (?:\s|--[^\n\r]*[\n\r])+ '(?:[^'\\]|\\.|'')*' )*  # goes on after a line break
        | '(?:[^']|'')*'
        | \$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$ .*? \$(?P=tag)\$
    )
    | (?P<name> "(?:[^"]|"")*" | (?![eE]')[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]* )
    | (?P<open> /\* | [eE]?' | " )
    | (?P<end> [\s;] )
    | (?P<other> . )
    """,
    re.DOTALL | re.VERBOSE | re.ASCII,
)
_RELATION = re.compile(r'\b(?:from|join)\s+(?:only\s+)?"?([a-z_][a-z0-9_]*)\b"?(?!\s*[.(])', re.IGNORECASE)
_EXPRESSION = re.compile(
    r'(?:\bwith(?:\s+recursive)?|,)\s+"?([a-z_][a-z0-9_]*)"?\s*(?:\([^)]*\)\s*)?as\s+(?:not\s+)?(?:materialized\s*)?\(',
    re.IGNORECASE,
)


def bare(sql: str) -> str:
    """The statement without comments, literals and what stands in quotes but is no plain name."""
    return "".join(_bare(token) for token in _TOKEN.finditer(sql)).strip()


def _bare(token: re.Match[str]) -> str:
    if token.lastgroup in ("comment", "literal"):
        return " "
    quoted = token.lastgroup == "name" and token[0].startswith('"')
    return '""' if quoted and not re.fullmatch(r'"\w+"', token[0]) else token[0]


def embeddable(sql: str) -> str:
    """The statement up to its last word: without the semicolon, comments and white space at its end."""
    ends = [token.end() for token in _TOKEN.finditer(sql) if token.lastgroup not in ("comment", "end")]
    return sql[: ends[-1]] if ends else ""


def select_problem(sql: str) -> str | None:
    """Why the text is not one SELECT; None if it looks like one."""
    statement = bare(sql).removesuffix(";").strip()
    if not re.match(r"(?:select|with)\b", statement, re.IGNORECASE):
        return "must be one SELECT (or WITH ... SELECT)"
    if any(token.lastgroup == "open" for token in _TOKEN.finditer(sql)):
        return "holds a comment or a quotation without an end, or a comment within a comment"
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
