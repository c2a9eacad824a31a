"""The errors of the engine: each carries a code, an English message and the parameters of that message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EngineError(Exception):
    """Something that the engine refuses. `code` is stable, `params` let a portal translate the message."""

    own_text = True  # the message is written by us: a portal may keep it for its engineers

    def __init__(self, code: str, message: str, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.params: dict[str, Any] = dict(params or {})


class Stopped(EngineError):
    """The caller's `should_stop` said so; nothing was produced."""

    def __init__(self) -> None:
        super().__init__("stopped", "Training was stopped before it had finished.")


class ArtefactError(EngineError):
    """A stored model that is damaged, forged, unsafe or of an unknown format."""


class FileRefused(Exception):
    """The file of a cell is not opened. `code`: files_folder_missing, file_refused, file_missing or file_unreadable."""

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(why or code)
        self.code = code


def invalid_weights(why: str) -> EngineError:
    """The refusal ("weights_invalid") of a folder of pretrained weights, or of something in it."""
    return EngineError("weights_invalid", f"Pretrained weights: {why}.", {"why": why})
