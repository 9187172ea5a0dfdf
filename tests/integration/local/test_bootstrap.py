"""What stops a newcomer before anything is installed: one sentence, and no traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path):
    """A clone without an environment, as far as the bootstrap reads it."""
    for part in ("scripts/bootstrap.py", "setup.py", *(f"requirements/{n}.txt" for n in ("bootstrap", "local", "dev"))):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / part, tmp_path / part)
    return tmp_path


def fake_python(folder, answer):
    """A program that says what the bootstrap asks a Python."""
    folder.mkdir(exist_ok=True)
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\necho {answer}\n")
    path.chmod(0o755)
    return path


def bootstrap(checkout, *, before="", executable=sys.executable, path="/nowhere", **environment):
    """Run it as if by ``executable``, with only ``path`` to look for others."""
    code = (
        "import runpy, shutil, sys\n"
        f"sys.executable = {str(executable)!r}\n{before}\n"
        "sys.argv = ['bootstrap.py', 'local']\n"
        f"runpy.run_path({str(checkout / 'scripts' / 'bootstrap.py')!r}, run_name='__main__')"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "PATH": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def refusal(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_an_old_python_is_named_with_what_is_needed(checkout):
    old = fake_python(checkout / "bin", "3.9 venv")
    text = refusal(bootstrap(checkout, executable=old))
    assert "needs Python 3.11, 3.12 or 3.13, and this machine has 3.9" in text
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_too_new_is_refused(checkout):
    new = fake_python(checkout / "bin", "3.14 venv")
    assert "this machine has 3.14" in refusal(bootstrap(checkout, executable=new))


def test_a_python_without_venv_says_what_to_install(checkout):
    bare = fake_python(checkout / "bin", "3.12 none")
    assert "`apt install python3.12-venv`" in refusal(bootstrap(checkout, executable=bare))


def test_a_suitable_python_elsewhere_on_the_path_is_taken(checkout):
    old = fake_python(checkout / "old", "3.9 venv")
    (checkout / "bin").mkdir()
    (checkout / "bin" / "python3.12").symlink_to("/bin/false")  # there, and does not run: a version manager's stub
    (checkout / "bin" / "python3.11").symlink_to(fake_python(checkout / "good", "3.11 venv"))
    done = bootstrap(checkout, executable=old, path=checkout / "bin")
    assert f"Making .venv with {checkout / 'bin' / 'python3.11'}" in done.stdout


def test_a_full_disk_is_seen_before_anything_is_written(checkout):
    text = refusal(bootstrap(checkout, before="shutil.disk_usage = lambda path: (0, 0, 10**9)"))
    assert "has 1.0 GB free, and 3 GB are needed" in text
    assert not (checkout / ".venv").exists()


def test_without_network_the_first_run_says_so_and_the_next_goes_on(checkout):
    def run():
        return refusal(bootstrap(checkout, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0", PIP_NO_CACHE_DIR="1"))

    assert "The first run needs the network" in run()
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert "The first run needs the network" in run()
