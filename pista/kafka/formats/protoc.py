"""Schema text to descriptors, by protoc in a process and a folder of its own.

Of its own, because protoc writes what is wrong to the standard error, and what it does with a text that somebody
registered must not end or block this process.
"""

import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from pista.kafka.formats.errors import Code, FormatError
from pista.kafka.formats.schemas import Schema

MAIN = "pista.schema.proto"  # no import is called so
TIMEOUT_SECONDS = 30.0
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def compile_text(schema: Schema) -> FileDescriptorSet:
    """The descriptors of a schema and all that it imports, the schema itself last and named ``MAIN``.

    Raises:
        FormatError: protoc refuses the text, or an import is missing.
    """
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
