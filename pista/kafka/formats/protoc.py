"""Protobuf schemas to descriptors: text by protoc, in a process and a folder of its own.

Of its own, because protoc writes what is wrong to the standard error, and what it does with a text that somebody
registered must not end or block this process. Some clients register, and some registries return, the descriptor of
the file in base64 instead of text.
"""

import binascii
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import grpc_tools
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.schemas import Schema

MAIN = "pista.schema.proto"  # no import is called so
TIMEOUT_SECONDS = 30.0
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
MODULES = (any_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
WELL_KNOWN_FILES = {
    module.DESCRIPTOR.name: FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in MODULES
}


def descriptors(schema: Schema) -> list[FileDescriptorProto]:
    """The descriptors of a schema and all that it imports, each after its imports; the last one is named ``MAIN``.

    Raises:
        FormatError: protoc refuses the text, or an import is missing.
    """
    if _serialized(schema.text) is None:
        return list(_compiled(schema).file)
    found: dict[str, FileDescriptorProto] = {}
    for file in _files(schema, MAIN):
        found.setdefault(file.name, file)
    return list(found.values())


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
    yield from (WELL_KNOWN_FILES[imported] for imported in file.dependency if imported in WELL_KNOWN_FILES)
    file.name = name
    yield file


def _compiled(schema: Schema) -> FileDescriptorSet:
    with tempfile.TemporaryDirectory(prefix="pista-protoc-") as folder:
        root = Path(folder)
        for name, imported in schema.imports():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or name == MAIN:
                raise FormatError(Code.UNDECODABLE, f"its schema imports {name!r}, which is no relative path")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(imported.text, encoding="utf-8")
        (root / MAIN).write_text(schema.text, encoding="utf-8")
        made = root / "descriptors"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", "--include_imports", f"--descriptor_set_out={made}"),
            *(f"--proto_path={root}", f"--proto_path={WELL_KNOWN}", str(root / MAIN)),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, and files that we named
                command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, cwd=root
            )
        except subprocess.TimeoutExpired:
            raise FormatError(
                Code.UNDECODABLE, f"protoc did not end in {TIMEOUT_SECONDS:.0f} s on its schema"
            ) from None
        if done.returncode:
            # protoc logs besides; what it refuses starts with the name of a file
            said = [line.removeprefix(f"{root}/") for line in done.stderr.splitlines()]
            refused = [line.replace(f"{MAIN}:", "line ") for line in said if ".proto:" in line.partition(" ")[0]]
            trouble = "; ".join(refused) or f"protoc ended with {done.returncode}"
            raise FormatError(Code.UNDECODABLE, f"its schema is no valid Protobuf schema: {trouble}")
        return FileDescriptorSet.FromString(made.read_bytes())
