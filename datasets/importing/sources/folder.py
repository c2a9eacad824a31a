"""A folder of this host, below one that the administrator of this installation has granted to the organisation
(AIMASS_IMPORT_FOLDERS).

From the listed folder down each step is made by a handle and follows no link, so that what lies elsewhere is out of reach whoever
may write there and whenever they swap a folder for a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from django import forms
from django.utils.translation import gettext_lazy

from datasets.importing.base import Faulty, FileFault, SourceError
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources.files import Entry, Exactly, FilesForm, FileSource, changed

STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # a pipe in a file's place would keep us waiting


def below(folder: str, granted: Iterable[str]) -> tuple[Path, tuple[str, ...]]:
    """The granted folder that it lies in, and the steps from there. Raises ValueError where there is none."""
    path = Path(os.path.normpath(folder))
    for listed in map(Path, granted):
        if path.is_relative_to(os.path.normpath(listed)):
            return listed, path.relative_to(os.path.normpath(listed)).parts
    raise ValueError(folder)


class FolderForm(FilesForm):
    """What a person fills in."""

    folder = forms.CharField(
        label=gettext_lazy("Folder"),
        max_length=1000,
        help_text=gettext_lazy(
            "An absolute path on this portal's server, in a folder that its administrator has allowed (AIMASS_IMPORT_FOLDERS)."
        ),
    )
    field_order = ("folder", "pattern", "subfolders")
    network = Network()  # see opening.form_of

    def clean_folder(self) -> str:
        folder = str(self.cleaned_data["folder"])
        try:
            below(folder, self.network.folders)
        except ValueError:
            raise forms.ValidationError(_not_listed(self.network)) from None
        return folder


class FolderSource(FileSource):
    """See the module's text."""

    kind: ClassVar[str] = "folder"
    label: ClassVar[Any] = gettext_lazy("Folder")
    explained: ClassVar[Any] = gettext_lazy(
        "Files that are put into a folder of this portal's server, or on a drive mounted there."
    )
    Form: ClassVar[type[forms.Form]] = FolderForm
    secrets: ClassVar[frozenset[str]] = frozenset()

    def close(self) -> None:
        """Nothing is held."""

    def entries(self) -> Iterator[Entry | Faulty]:
        with self._top() as top:
            try:
                yield from self._walked(top)
            except OSError:
                raise self._closed() from None

    def _walked(self, top: int) -> Iterator[Entry | Faulty]:
        unreadable: list[Faulty] = []

        def unread(error: OSError) -> None:
            unreadable.append(Faulty(str(error.filename or "."), _("This folder can't be read.")))

        for where, folders, names, handle in os.fwalk(".", dir_fd=top, follow_symlinks=False, onerror=unread):
            # Hidden folders and links to folders are left out, as hidden files and links to files are.
            folders[:] = [each for each in folders if self.subfolders and not each.startswith(".")]
            for name in names:
                path = str(Path(where, name))
                try:
                    found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                except FileNotFoundError:  # gone since
                    continue
                except OSError as error:  # the others can be read
                    if self.wanted(path):
                        yield Faulty(Entry(path, 0, 0).shown, str(_unreadable(error)))
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield Entry(path, found.st_size, found.st_mtime)
        yield from unreadable

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[IO[bytes]]:
        """Raises FileFault where it is gone, or is not what was listed, also when it changes while it is read."""
        *steps, name = entry.path.split("/")
        with self._top(tuple(steps)) as folder:
            try:
                handle = os.open(name, FILE, dir_fd=folder)
            except OSError:
                raise _gone(entry) from None
            with os.fdopen(handle, "rb") as file:
                _check(entry, handle)
                yield cast(IO[bytes], Exactly(file.read, entry.size, _unreadable))
                _check(entry, handle)

    @contextmanager
    def _top(self, further: tuple[str, ...] = ()) -> Iterator[int]:
        """A handle of the folder, or of one further down."""
        try:
            listed, steps = below(str(self.settings["folder"]), self.network.folders)
        except ValueError:
            raise SourceError("forbidden", _not_listed(self.network)) from None
        handle, fault = -1, self._closed()
        try:
            try:
                handle = os.open(listed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                for number, step in enumerate((*steps, *further)):
                    if number >= len(steps):  # its folder is there, and others of its files may be
                        fault = FileFault("gone", _("Its folder is gone."), passing=True)
                    outer, handle = handle, os.open(step, STEP, dir_fd=handle)
                    os.close(outer)
            except OSError:
                raise fault from None
            yield handle
        finally:
            if handle >= 0:
                os.close(handle)

    def _closed(self) -> SourceError:
        text = _("The folder %(folder)s can't be read: it is missing, a link, or closed to the portal's user.")
        return SourceError("not_found", text % {"folder": self.settings["folder"]}, passing=True)


def _check(entry: Entry, handle: int) -> None:
    try:
        found = os.fstat(handle)
    except OSError as error:  # a network drive that went away
        raise _unreadable(error) from None
    if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime) != (entry.size, entry.modified):
        raise changed()


def _gone(entry: Entry) -> FileFault:
    return FileFault("gone", _("It is gone, or can't be read by the portal's user."), passing=True)


def _unreadable(error: Exception) -> FileFault:
    """Of one file, on a disk that reads others: a bad sector, a drive that is out of order."""
    if not isinstance(error, OSError):
        raise error
    text = _("It can't be read (%(error)s). Look at the disk that it lies on.")
    return FileFault("broken", text % {"error": os.strerror(error.errno or errno.EIO)}, passing=True)


def _not_listed(network: Network) -> str:
    return _(
        "This folder is not in one that the administrator of this installation has allowed (AIMASS_IMPORT_FOLDERS) for your "
        "organisation: %(organisation)s."
    ) % {"organisation": network.organisation}
