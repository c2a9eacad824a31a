"""Why a source can't be read, as a person is told."""

from __future__ import annotations


class SourceError(Exception):
    """The source can't be read; the text tells a person what was wrong, where, and what to do. No secret, no patient's value.

    `code` is for programs. `passing`: it may work later without anybody doing anything (a time-out, a server that is down).
    """

    def __init__(self, code: str, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.code, self.passing = code, passing


class FileFault(SourceError):
    """Raised where one file is opened or read: that one can't be taken, the others can. It becomes a Faulty; the run goes on.

    `passing`: the next run asks for the file again. Else it is not taken until it changes.
    """
