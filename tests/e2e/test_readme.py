"""The README's walk, run as it stands: its commands, in its order, end in what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Stack, wait_for

pytestmark = pytest.mark.timeout(600)
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def walk() -> list[str]:
    """The bash blocks of "Add a dataset"."""
    section = README.split("## Add a dataset")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def run(stack: Stack, script: str, folder: Path) -> str:
    environment = stack.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_three_minute_walk_ends_in_a_served_dataset(runway: Stack) -> None:
    folder = Path(runway.environment["PISTA_DATASETS_DIR"]).parent
    add, send, look = walk()
    said = run(runway, add, folder)
    assert re.search(r"curl -H 'Authorization: Bearer \S+' 'http\S+/v1/gate_changes\?limit=3'", said)
    assert "3 records published to ops.gate-changes." in run(runway, send, folder)
    rows = wait_for(lambda: runway.get("/v1/gate_changes"), 120)
    assert [(row["gate"], row["changed_at"]) for row in rows] == [("C84", "2013-01-01T09:55:00+00:00")]
    said = run(runway, look, folder)
    assert "gate_changes" in said
    assert "field 'Gate Nº' is 26; valid: a text" in said


def test_every_file_and_command_that_the_readme_names_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    from pista.cli import COMMANDS

    for command in re.findall(r"`pista (\w+)", README):
        assert command in COMMANDS, command
