"""A contract's SQL is read as PostgreSQL reads it, so that one SELECT is one SELECT there too."""

from pathlib import Path

import pytest

from pista.contracts.loading import load_datasets
from pista.contracts.sql import bare, embeddable, relations, select_problem

from .test_rules import SOURCE, write

SEVERAL = "holds more than one statement; it must be one SELECT"
OPEN = "holds a comment or a quotation without an end, or a comment within a comment"


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "\n",
        ";",
        " ; \n",
        "; -- done",
        "; /* done; */ -- it is\n",
        " -- done",
        " -- done;\n;\n",
        " /* a */ ; /* b */",
    ],
)
@pytest.mark.parametrize(
    "select", ["SELECT 1", "-- why\nSELECT 1", "SELECT ';'", "SELECT $$ -- ; $$", 'SELECT 1 AS ";"']
)
def test_what_can_be_put_in_brackets(select: str, tail: str) -> None:
    assert embeddable(select + tail) == select
    assert select_problem(select + tail) is None


def test_nothing_is_left_of_a_comment() -> None:
    assert embeddable("-- nothing;\n;") == ""


def test_transforms_and_rules_are_read_without_their_ends(tmp_path: Path) -> None:
    source = SOURCE.replace(
        "query: SELECT count(*) FROM {table} WHERE day IS NULL", 'query: "SELECT 1 FROM {table}; -- x"'
    )
    datasets = load_datasets(write(tmp_path, source=source, transform="SELECT day FROM legs; -- done\n"))
    assert datasets["daily"].transform == "SELECT day FROM legs"
    assert datasets["legs"].quality[1].query == "SELECT 1 FROM {table}"


@pytest.mark.parametrize(
    "opening",
    [
        r"E'\'' ; DELETE FROM src; --'",
        r"e'\\\'' ; DELETE FROM src; --'",
        "E'a'\n'\\'' ; DELETE FROM src; --'",
        "E'a' -- more\n'\\'' ; DELETE FROM src; --'",
        "1 -- a comment ends here\r ; DELETE FROM src",
        "1 AS \"'\" ; DELETE FROM src; --'",
        "1 AS a$b$ ; DELETE FROM src; -- $b$",
        "1 AS é$b$ ; DELETE FROM src; -- $b$",
        '1 AS "a""\'" ; DELETE FROM src; --\'',
        "$a$ ' $a$ ; DELETE FROM src; --'",
        r"'\' ; DELETE FROM src; --'''",
    ],
)
def test_a_second_statement_is_seen(opening: str) -> None:
    assert select_problem(f"SELECT {opening}") == SEVERAL


@pytest.mark.parametrize("text", ["'a", '"a', "/* a", "E'a\\'", "/* /* */ ' */ ; DELETE FROM src; --'", "/*/*/ 1"])
def test_what_has_no_end_is_refused(text: str) -> None:
    assert select_problem(f"SELECT {text}") == OPEN


@pytest.mark.parametrize(
    "text",
    [r"E'\'; ' AS a", "'it''s; ' AS a", "$a$ ; $$ ' $a$", 'a AS "; \'"', "1 /* ; ' */", "1 /**/ -- ' ;", "U&'\\003B'"],
)
def test_semicolons_within_text_are_text(text: str) -> None:
    assert select_problem(f"SELECT {text}") is None


def test_names_in_quotes_are_names() -> None:
    assert relations('SELECT 1 FROM "legs" JOIN "not; plain" USING (day)') == {"legs"}
    assert bare("SELECT E'\\'' AS \"a\" -- b") == 'SELECT   AS "a"'
