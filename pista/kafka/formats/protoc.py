"""Protobuf schemas to descriptors: text by protoc, in a process and a folder of its own.

Of its own, because protoc writes what is wrong to the standard error, and what it does with a text that somebody
registered must not end or block this process. Some clients register, and some registries return, the descriptor of
the file in base64 instead of text.
"""

import binascii
import re
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.schemas import Schema

MAIN = "pista.schema.proto"  # no import is called so
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*")
TIMEOUT_SECONDS = 30.0
# what schemas import without a reference, for their registries have them: google/protobuf, google/type and confluent
BUILT_IN = (Path(grpc_tools.__file__).parent / "_proto", Path(__file__).parent / "protos")


def descriptors(schema: Schema) -> list[FileDescriptorProto]:
    """The descriptors of a schema and all that it imports, each after its imports; the last one is named ``MAIN``.

    Raises:
        FormatError: protoc refuses the text, or an import is missing.
    """
    if _serialized(schema.text) is None:
        return _compiled({**{name: imported.text for name, imported in schema.imports()}, MAIN: schema.text}, [MAIN])
    files = {file.name: file for file in _files(schema, MAIN)}
    built_in = {name for file in files.values() for name in file.dependency} - set(files)
    if strange := [name for name in sorted(built_in) if not name.startswith(("google/", "confluent/"))]:
        raise FormatError(Code.UNDECODABLE, f"its schema imports {strange[0]!r} and has no reference of that name")
    return [*(_compiled({}, sorted(built_in)) if built_in else []), *files.values()]


def _serialized(text: str) -> FileDescriptorProto | None:
    try:
        return FileDescriptorProto.FromString(b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None


def _files(schema: Schema, name: str) -> Iterator[FileDescriptorProto]:
    """The files of a serialized schema under the names by which they are imported; some more than once."""
    file = _serialized(schema.text)
    if file is None:
        raise FormatError(Code.UNDECODABLE, f"its schema is a descriptor, and imports {name} as text")
    for imported_as, imported in schema.references:
        yield from _files(imported, imported_as)
    file.name = name
    yield file


def _compiled(texts: dict[str, str], wanted: Iterable[str]) -> list[FileDescriptorProto]:
    """The descriptors of the wanted files and of all that they import, of these texts by name and what is built in."""
    with tempfile.TemporaryDirectory(prefix="pista-protoc-") as folder:
        root = Path(folder)
        for name, text in texts.items():
            if not PATH.fullmatch(name) or ".." in name.split("/"):
                raise FormatError(Code.UNDECODABLE, f"its schema imports {name!r}, which is no relative path")
            try:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise FormatError(
                    Code.UNDECODABLE, f"its schema imports {name!r}, which is a folder of another import"
                ) from None
        made = root / "descriptors"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", "--include_imports", f"--descriptor_set_out={made}"),
            *(f"--proto_path={path}" for path in (root, *BUILT_IN)),
            *wanted,
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, and files whose names were looked at
                command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, cwd=root
            )
        except subprocess.TimeoutExpired:
            raise FormatError(
                Code.UNDECODABLE, f"protoc did not end in {TIMEOUT_SECONDS:.0f} s on its schema"
            ) from None
        if done.returncode:
            # protoc logs besides; what it refuses in a file starts with the name of it
            said = [line.removeprefix(f"{root}/") for line in done.stderr.splitlines()]
            refused = [line.replace(f"{MAIN}:", "line ") for line in said if ".proto:" in line.partition(" ")[0]]
            trouble = "; ".join(refused) or " ".join(said[-1:])
            raise FormatError(Code.UNDECODABLE, f"its schema is no valid Protobuf schema: {trouble}")
        return list(FileDescriptorSet.FromString(made.read_bytes()).file)
