"""Make .venv with everything that the locks in requirements/ name; needs nothing but a Python with venv.

    python3 scripts/bootstrap.py local|dev

Nothing is done where it was done before. It may be interrupted and run again at any moment. It also starts under
Pythons too old for Pista, to say so: the syntax and the standard library of 3.6 have to do.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
OLDEST, TOO_NEW = (3, 11), (3, 14)
GIGABYTES = 3.0  # environment, caches, and a first start
WHOLE = {"local": ("local", "dev"), "dev": ("dev",)}  # which installed sets contain a wanted one
PROBE = """
import sys
try:
    import ensurepip, venv
    print("%d.%d venv" % sys.version_info[:2])
except ImportError:
    print("%d.%d none" % sys.version_info[:2])
"""


class Refusal(Exception):
    """It cannot go on; the text says why, and what to do."""


def main():
    """Bring .venv up to date, or say in one sentence why not."""
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    if wanted not in WHOLE:
        sys.exit("usage: python3 scripts/bootstrap.py local|dev")
    try:
        prepare(wanted)
    except Refusal as refusal:
        sys.exit(f"Error: {refusal}")
    except KeyboardInterrupt:
        sys.exit("Interrupted: the same command goes on from here.")


def prepare(wanted):
    """Install what is missing."""
    stamps = {name: VENV / f"pista-{name}.sha256" for name in WHOLE}
    marks = {name: fingerprint(name) for name in WHOLE}
    if PYTHON.exists() and any(
        stamps[name].exists() and stamps[name].read_text() == marks[name] for name in WHOLE[wanted]
    ):
        return
    began = time.time()
    if free_gigabytes() < GIGABYTES:
        raise Refusal(
            f"the disk of {ROOT} has {free_gigabytes():.1f} GB free, and {GIGABYTES:.0f} GB are needed: free some, or "
            "clone to another disk."
        )
    for stamp in stamps.values():
        if stamp.exists():
            stamp.unlink()
    make_environment()
    say("Fetching the installer.")
    lock = ROOT / "requirements" / "bootstrap.txt"
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"]
    run([*pip, "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)], "uv")
    requirements = ROOT / "requirements" / f"{wanted}.txt"
    say(f"Installing the packages of {requirements}.")
    environment = dict(os.environ, VIRTUAL_ENV=str(VENV))
    index = pip_index(pip)
    if index and not any(name in environment for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        environment["UV_DEFAULT_INDEX"] = index  # uv does not read pip's configuration
    # what builds packages is pinned too, by the lock that has it
    install = [
        str(UV),
        "pip",
        "install",
        "--compile-bytecode",
        "--build-constraints",
        str(ROOT / "requirements" / "dev.txt"),
    ]
    run([*install, "--require-hashes", "-r", str(requirements)], "the packages", environment)
    run([*install, "--quiet", "--no-deps", "--editable", str(ROOT)], "Pista itself", environment)
    stamps[wanted].write_text(marks[wanted])
    say(f"The environment is ready after {time.time() - began:.0f} s.")


def make_environment():
    """A virtual environment of a suitable Python; one that was begun is repaired."""
    version = probe(str(PYTHON))[0] if PYTHON.exists() else None
    fits = version is not None and OLDEST <= version < TOO_NEW
    base = str(PYTHON) if fits else find_python()
    if fits and subprocess.call([str(PYTHON), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    say(f"Making .venv with {base}.")
    command = [base, "-m", "ensurepip", "--upgrade"] if fits else [base, "-m", "venv", "--clear", str(VENV)]
    run(command, "the virtual environment")


def find_python():
    """A Python that Pista runs on: this one, or else the newest on PATH."""
    names = [f"python3.{minor}" for minor in range(TOO_NEW[1] - 1, OLDEST[1] - 1, -1)]
    paths = [sys.executable, *(shutil.which(name) for name in [*names, "python3"])]
    found = {path: probe(path) for path in paths if path}
    for path, (version, has_venv) in found.items():
        if version and OLDEST <= version < TOO_NEW and has_venv:
            return path
    for path, (version, _) in found.items():
        if version and OLDEST <= version < TOO_NEW:
            raise Refusal(
                f"Python {dotted(version)} ({path}) has no venv module: install it (Debian and Ubuntu: "
                f"`apt install python{dotted(version)}-venv`), and run the command again."
            )
    versions = sorted({version for version, _ in found.values() if version})
    raise Refusal(
        f"Pista needs Python 3.11, 3.12 or 3.13, and this machine has {', '.join(map(dotted, versions)) or 'none'}: "
        "install one of them, or name it by `make PYTHON=/path/to/python3.12 ...`."
    )


def dotted(version):
    """The version as people write it."""
    return ".".join(map(str, version))


def probe(path):
    """Version of a Python and whether it can make environments; (None, False) where it does not run."""
    try:
        said = subprocess.check_output([path, "-c", PROBE], stderr=subprocess.DEVNULL).decode().split()
        return tuple(int(part) for part in said[0].split(".")), said[1] == "venv"
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        return None, False


def run(command, what, environment=None):
    """Run a step of the installation; its own words are shown, and then ours."""
    try:
        code = subprocess.call(command, cwd=str(ROOT), env=environment)
    except OSError as error:
        raise Refusal(f"{what} cannot be installed: {command[0]}: {error.strerror}.") from error
    if code != 0:
        raise Refusal(
            f"{what} cannot be installed (see above). The first run needs the network: check the connection, the proxy "
            "or the package index, and run the same command again; it goes on from here."
        )


def pip_index(pip):
    """The package index of pip's configuration, or nothing."""
    try:
        said = subprocess.check_output([*pip, "config", "get", "global.index-url"], stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        return ""
    return said.decode().strip()


def fingerprint(name):
    """Of all that decides what is installed, and where: an environment cannot be moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for part in ("requirements/bootstrap.txt", f"requirements/{name}.txt", "setup.py"):
        digest.update((ROOT / part).read_bytes())
    return digest.hexdigest()


def free_gigabytes():
    """Free space of the disk that holds the checkout."""
    return shutil.disk_usage(str(ROOT))[2] / 1e9


def say(text):
    """Tell what happens, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
