"""Files on their way to the portal: a folder or a table with its files as one zip, and the files that inputs name."""

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from ai_mass.client import Client
from ai_mass.errors import AIMassError

KINDS = ("image", "volume", "video", "signal")
SHA256 = re.compile(r"[0-9a-f]{64}")
ENDING = re.compile(
    r"\.(png|jpe?g|tiff?|bmp|webp|gif|dcm|nii(\.gz)?|mp4|m4v|avi|mov|mkv|mpe?g|npy|edf|bdf|csv|tsv|hea|zip)$", re.IGNORECASE
)
LONGEST = 1024  # characters of a text that could be a path
PIECE = 1024 * 1024


def zipped(parts: Iterable[tuple[str, Path | bytes | Callable[[], BinaryIO]]]) -> BinaryIO:
    """A zip in a temporary file, rewound: equal contents make equal bytes, and nothing is in memory as a whole."""
    stream: Any = tempfile.TemporaryFile(prefix="ai-mass-")  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
                if isinstance(content, bytes):
                    target.write(content)
                    continue
                with content.open("rb") if isinstance(content, Path) else content() as source:
                    while piece := source.read(PIECE):
                        target.write(piece)
    stream.seek(0)
    return stream


def of_folder(folder: Path, prefix: str = "") -> list[tuple[str, Path | bytes | Callable[[], BinaryIO]]]:
    """(name in the zip, path) of the plain files below a folder; hidden files and links are left out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    shown = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not shown:
        raise AIMassError(f"There is no file in the folder {folder}.")
    return [(prefix + p.relative_to(folder).as_posix(), p) for p in shown]


def folder_as_upload(folder: Path) -> tuple[str, BinaryIO]:
    """A folder with one folder a class as (name, zip)."""
    return f"{folder.resolve().name or 'files'}.zip", zipped(of_folder(folder))


def table_as_upload(name: str, table: BinaryIO, files: Any) -> tuple[str, BinaryIO]:
    """A table and the files that it names as (name, zip). `files`: a zip, a folder, or a list of paths."""
    with table:
        parts: list[tuple[str, Path | bytes | Callable[[], BinaryIO]]] = [(name, table.read())]
    stem = name.rsplit(".", 1)[0]
    if isinstance(files, Sequence) and not isinstance(files, str):
        return f"{stem}.zip", zipped([*parts, *(part for f in files for part in _listed(f))])
    path = Path(files).expanduser()
    if path.is_dir():
        return f"{stem}.zip", zipped([*parts, *of_folder(path)])
    try:
        archive = zipfile.ZipFile(existing(path))
    except zipfile.BadZipFile as error:
        raise AIMassError(f"{path} is no zip file: give `files=` a zip, a folder or a list of paths.") from error
    with archive:
        inner = [i for i in archive.infolist() if not i.is_dir() and i.filename != name]
        more = [(i.filename, _opener(archive, i)) for i in inner]
        return f"{stem}.zip", zipped([*parts, *more])


def _listed(given: Any) -> list[tuple[str, Path | bytes | Callable[[], BinaryIO]]]:
    """A file of a list, or all files of a folder of it, under the folder's own name."""
    path = Path(given).expanduser()
    return of_folder(path, f"{path.resolve().name}/") if path.is_dir() else [(path.name, existing(path))]


def together(path: Path) -> tuple[str, BinaryIO]:
    """(name, stream) of what one cell is made of: a folder (a DICOM series) and a WFDB header with the files beside it that are
    called alike come as one zip. Raises AIMassError."""
    if path.is_dir():
        return f"{path.resolve().name or 'series'}.zip", zipped(of_folder(path))
    if path.suffix.lower() == ".hea":
        named = _named_in_header(existing(path))
        own = sorted(p for p in path.parent.iterdir() if p.is_file() and (p == path or p.name in named))
        return f"{path.stem}.zip", zipped([(p.name, p) for p in own])
    return path.name, existing(path).open("rb")


def _named_in_header(header: Path) -> set[str]:
    """The files of samples that a WFDB header names: the first word of each line after the first."""
    lines = [line.split() for line in header.read_text("utf-8", "replace").splitlines()]
    return {words[0] for words in [words for words in lines if words and not words[0].startswith("#")][1:]}


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, archive.open(info))


def existing(given: Any) -> Path:
    """The path of a file that is there. Raises AIMassError."""
    path = Path(given).expanduser()
    if not path.is_file():
        raise AIMassError(f"There is no file {path}.")
    return path


def like_a_file(value: Any) -> bool:
    """Whether an input is a file, or a text of one line that ends like a file's name."""
    return is_file(value) or (isinstance(value, str) and len(value) < LONGEST and bool(ENDING.search(value)))


def is_file(value: Any) -> bool:
    """Whether an input is a path, or a text that is the path of a file or folder that is there."""
    if isinstance(value, Path):
        return True
    if not isinstance(value, str) or not 0 < len(value) < LONGEST or "\n" in value or "\0" in value:
        return False
    try:
        path = Path(value).expanduser()
        return path.is_file() or (path.is_dir() and ("/" in value or "\\" in value))
    except (OSError, RuntimeError):
        return False


class Sender:
    """Sends the files that records name, each once, and puts their ids in the place of their paths."""

    def __init__(self, client: Client, columns: Sequence[Mapping[str, Any]]) -> None:
        self.client = client
        self.kinds = {c["name"]: c["kind"] for c in columns if c["kind"] in KINDS and c.get("role") == "feature"}
        self.texts = any(c["kind"] == "text" and c.get("role") == "feature" for c in columns)
        self.sent: dict[Path, dict[str, Any]] = {}

    def send(self, given: Any) -> dict[str, Any]:
        """The portal's answer for a file or a series' folder: id, kind, ... Raises RequestInvalid when it cannot be taken."""
        path = Path(given).expanduser()
        if path not in self.sent:
            name, stream = together(path)
            with stream:
                self.sent[path] = self.client.post("files/", files={"file": (name, stream)})
        return self.sent[path]

    def record(self, given: Any) -> Any:
        """A record with ids in place of paths. A bare path fills the model's only column of the file's kind."""
        if isinstance(given, Mapping):
            return {name: self._cell(str(name), value) for name, value in given.items()}
        if not self.kinds or not (is_file(given) or (like_a_file(given) and not self.texts)):
            return given
        file = self.send(given)
        fitting = [name for name, kind in self.kinds.items() if kind == file["kind"]] or list(self.kinds)
        if len(fitting) != 1:
            names = ", ".join(f"“{name}”" for name in fitting)
            raise AIMassError(f"Which column {given} belongs to is not clear ({names}): give a dictionary instead.")
        return {fitting[0]: file["id"]}

    def _cell(self, name: str, value: Any) -> Any:
        if name not in self.kinds or value is None or value == "":
            return str(value) if isinstance(value, Path) else value
        if isinstance(value, str) and SHA256.fullmatch(value) and not is_file(value):
            return value
        return self.send(value)["id"]


def named_in(inputs: Iterable[Any]) -> bool:
    """Whether any input, or any value of one, is a file: only then the model's columns have to be asked for."""
    return any(any(map(like_a_file, row.values())) if isinstance(row, Mapping) else like_a_file(row) for row in inputs)
