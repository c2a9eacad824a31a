"""One file for each kind of source; `datasets.importing.base.Source` is what each of them is.

`source_class(kind)` loads a kind when it is asked for: a web process that imports nothing loads no SSH and no database library.
"""

from __future__ import annotations

from importlib import import_module

from datasets.importing.base import Source

# In the order in which they are offered.
SOURCES: dict[str, str] = {
    "sql": "datasets.importing.sources.sql.SqlSource",
    "feed": "datasets.importing.sources.feed.FeedSource",
    "fhir": "datasets.importing.sources.fhir.FhirSource",
    "folder": "datasets.importing.sources.folder.FolderSource",
    "sftp": "datasets.importing.sources.sftp.SftpSource",
    "s3": "datasets.importing.sources.s3.S3Source",
    "received": "datasets.importing.sources.received.ReceivedSource",
    "dicomweb": "datasets.importing.sources.dicomweb.DicomwebSource",
}


def source_class(kind: str) -> type[Source]:
    """Raises KeyError for a kind that there is not."""
    module, _dot, name = SOURCES[kind].rpartition(".")
    found: type[Source] = getattr(import_module(module), name)
    return found


def source_classes() -> list[type[Source]]:
    """Of all kinds, in order."""
    return [source_class(kind) for kind in SOURCES]
