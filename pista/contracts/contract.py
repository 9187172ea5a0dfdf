"""One contract file, by itself: the standard's rules, then Pista's, then a Dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypedDict

from pista.contracts.columns import read_column
from pista.contracts.dataset import Column, Dataset, Kind, Origin, Pii
from pista.contracts.document import Document, Place, read_document
from pista.contracts.extensions import DATASET_EXTENSIONS, extension, misplaced_extensions, read_extensions
from pista.contracts.kinds import Body, Table, read_mart, read_source
from pista.contracts.names import IDENTIFIER, TAG, VERSION, dataset_name_problem
from pista.contracts.paths import source_of
from pista.contracts.problems import either, shown
from pista.contracts.quality import read_quality
from pista.contracts.sla import read_sla
from pista.contracts.sql import embeddable, select_problem
from pista.contracts.standard import check_standard

STATUSES = ("proposed", "draft", "active", "deprecated", "retired")


@dataclass(slots=True)
class Contract:
    """What one file says. It has no dataset if anything is wrong with it."""

    document: Document
    name: str
    dataset: Dataset | None = None
    extensions: Mapping[str, Place] = field(default_factory=dict)


def read_contract(file: Path) -> Contract:
    """Read ``NAME.yaml``, and ``NAME.sql`` if it stands beside."""
    document = read_document(file)
    contract = Contract(document, name=file.stem)
    if document.problems:
        return contract
    check_standard(document)
    of_standard = not document.problems
    root = document.root()
    transform = _read_transform(document)
    kafka = [server for server in root["servers"] if server["type"].value == "kafka"]
    elements = root["schema"]
    columns = _read_columns(elements[0]["properties"], in_message=transform is None)
    quality = read_quality(elements[0], [name for name, column in columns.items() if not _is_dropped(column)])
    contract.extensions = read_extensions(root["customProperties"], DATASET_EXTENSIONS)
    for place in misplaced_extensions(root):
        place.refuse("nobody reads a custom property here; Pista's stand at the top level and in the columns")
    header = _read_header(root, file.stem)
    _check_element(elements, file.stem)
    if (transform is None) == (not kafka):
        kinds = f"a source has a server of type kafka, a mart has {file.stem}.sql beside it"
        root["servers"].refuse(f"{kinds}; this dataset has {'both' if kafka else 'neither'}")
    elif of_standard and len(elements.value) == 1:  # else one mistake would show up as many
        table = Table(elements[0], columns)
        read = read_source if transform is None else read_mart
        body = read(table, root, contract.extensions)
        sla = read_sla(root["slaProperties"], file.stem, _no_retention(body))
        if not document.problems:
            contract.dataset = Dataset(
                name=file.stem,
                columns=tuple(column for column in columns.values() if column and not _is_dropped(column)),
                dropped=tuple(column for column in columns.values() if column and _is_dropped(column)),
                quality=quality,
                transform=None if transform is None else embeddable(transform),
                contract_hash=sha256(file.read_bytes() + (transform or "").encode()).hexdigest(),
                path=file,
                **header,
                **body,
                **sla,
            )
    return contract


def _read_transform(document: Document) -> str | None:
    """The text of ``NAME.sql``; its mistakes are problems of that file."""
    file = document.file.with_suffix(".sql")
    if not file.is_file():
        return None
    script = Document(file)
    try:
        transform = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        script.refuse((), f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8")
        transform = ""
    else:
        if (reason := select_problem(transform)) is not None:
            script.refuse((), reason)
    document.problems += script.problems
    return transform


def _read_columns(properties: Place, in_message: bool) -> dict[str, Column | None]:
    """Columns by name; None where one cannot be read."""
    columns: dict[str, Column | None] = {}
    places: dict[tuple[Origin, tuple[str | int, ...]], str] = {}
    for place in properties:
        name = place["name"].value
        if not isinstance(name, str):
            continue  # the standard's problem
        if name in columns:
            place["name"].refuse(f"{shown(name)} stands twice; each column has a name of its own")
            continue
        columns[name] = None if place.broken else read_column(place, in_message)
        column = columns[name]
        if column is None or not in_message:
            continue
        source = source_of(column)
        if (other := places.setdefault((source.origin, source.steps), name)) != name:
            (extension(place, "source") or place["physicalName"]).refuse(
                f"{shown(source.text)} is read by the column {other} already"
            )
    return columns


def _no_retention(body: Body) -> str | None:
    if body["kind"] is Kind.MART:
        return "a mart has none"
    return None if body["keep_raw"] else "raw: false keeps none"


def _is_dropped(column: Column | None) -> bool:
    return column is not None and column.pii is Pii.DROP


class _Header(TypedDict):
    version: str
    description: str
    domain: str
    tags: tuple[str, ...]
    status: str
    owner: str | None
    support: str | None


def _read_header(root: Place, name: str) -> _Header:
    file = root.document.file.name
    if (reason := dataset_name_problem(name)) is not None:
        root.refuse(f"the file is named {file}, and {reason}")
    if str(root["apiVersion"].value).startswith("v2."):
        root["apiVersion"].refuse(f"{root['apiVersion'].shown}: must be v3.2.0")
    if root["name"].value != name:
        root["name"].refuse(f"{root['name'].shown}: must be {name}, as the file is named {file}")
    if isinstance(root["version"].value, str) and not VERSION.match(root["version"].value):
        root["version"].refuse(f"{root['version'].shown}: must be MAJOR.MINOR.PATCH, such as 1.0.0")
    status, domain = root["status"], root["domain"]
    if status.value not in STATUSES:
        status.refuse(f"{status.shown}: must be {either(STATUSES)}")
    if domain.value is not None and not IDENTIFIER.match(str(domain.value)):
        domain.refuse(f"{domain.shown}: must be snake_case, for it names the group of the dataset")
    for tag in root["tags"]:
        if not TAG.match(str(tag.value)):
            tag.refuse(f"{tag.shown}: a tag has 1 to 63 letters, digits, dots, dashes or underscores")
    if isinstance(root["team"].value, list):
        root["team"].refuse("a list of people is the standard's old form; write a mapping with the team's name")
    contact = root["support"][0]
    texts = [root["description"][part].value for part in ("purpose", "usage", "limitations")]
    return _Header(
        version=str(root["version"].value),
        description="\n\n".join(text.strip() for text in texts if isinstance(text, str)),
        domain=domain.value or "default",
        tags=tuple(tag.value for tag in root["tags"]),
        status=str(status.value),
        owner=root["team"]["name"].value,
        support=contact["url"].value or contact["channel"].value,
    )


def _check_element(elements: Place, name: str) -> None:
    count = len(elements.value) if isinstance(elements.value, list) else 0
    if count != 1:
        elements.refuse(f"has {count} elements; one contract is one dataset, so exactly one")
    elif elements[0]["name"].value != name:
        elements[0]["name"].refuse(f"{elements[0]['name'].shown}: must be {name}, as the contract is named")
    elif not elements[0]["properties"].value:
        elements[0].refuse("the field properties is missing: a dataset has at least one column")
