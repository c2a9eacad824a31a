"""Video: clips of any length, read frame by frame; how they look, how they move, and some frames for networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import FileRefused
from engine.files import Files, source_of
from engine.schema import ColumnSpec, Kind
from engine.transformers.base import transformer
from engine.transformers.files import FileTransformer, Source
from engine.video.clip import Clip, VideoError, choose
from engine.video.features import NAMES, describe
from engine.video.readers import read_video

FRAMES, SIDE = 12, 64  # of the tensor
LOOKS = 3  # frames that pretrained networks see
LOOKED_AT = 8  # clips from which it is found whether they have colours
COLOURFUL = 0.03  # share of pixels with a difference of more than 30 between red, green and blue


@transformer(Kind.VIDEO)
class VideoTransformer(FileTransformer):
    """A clip becomes features of look, motion and change (engine.video.features), and for networks (frames, channels,
    side, side) in bytes: one channel of grey, or three where the training clips have colours."""

    seconds = 0.03
    width = len(NAMES)
    looks = Kind.IMAGE
    pictures = LOOKS

    def __init__(self, specs: Sequence[ColumnSpec], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(specs, settings)
        self.shape = (FRAMES, 3 if self.settings.get("colour") else 1, SIDE, SIDE)

    @classmethod
    def settle(
        cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> dict[str, Any]:
        """Whether the clips have colours, and the pretrained networks for pictures that look at some frames."""
        folder = (files or Files()).folder
        settings = super().settle(specs, columns, files)
        shares = [share for cells in columns for share in _colours(cells, folder)]
        return settings | {"colour": bool(shares) and float(np.median(shares)) > COLOURFUL}

    def read(self, source: Source) -> Clip:
        """Some frames of the clip and how it moves."""
        try:
            return read_video(source)
        except VideoError as error:
            raise FileRefused("file_unreadable", str(error)) from error

    def describe(self, item: Clip) -> NDArray[np.float64]:
        """See engine.video.features."""
        return describe(item)

    def views(self, item: Clip) -> list[NDArray[np.float32]]:
        """A few frames."""
        return [item.frames[k].astype(np.float32) / 255.0 for k in choose(item.moved, LOOKS)]

    def sketch(self, item: Clip) -> NDArray[np.uint8]:
        """(FRAMES, channels, SIDE, SIDE) in the order of time; the last frames of a short clip are black."""
        from PIL import Image

        tensor = np.zeros(self.shape, dtype=np.uint8)
        for place, k in enumerate(shown_frames(item)):
            image = Image.fromarray(item.frames[k]).resize((SIDE, SIDE), Image.Resampling.BOX)
            if self.shape[1] == 1:
                tensor[place, 0] = np.asarray(image.convert("L"))
            else:
                tensor[place] = np.asarray(image).transpose(2, 0, 1)
        return tensor


def shown_frames(clip: Clip) -> NDArray[np.int64]:
    """Which of a clip's frames a network sees."""
    return choose(clip.moved, FRAMES)


def _colours(cells: Sequence[Any], folder: Any) -> list[float]:
    places = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), 4 * LOOKED_AT)).astype(int))
    shares: list[float] = []
    for place in places:
        try:
            source = source_of(cells[place], folder)
            clip = None if source is None else read_video(source)
        except (FileRefused, VideoError):
            continue
        if clip is not None:
            spread = clip.frames.max(axis=3).astype(int) - clip.frames.min(axis=3)
            shares.append(float((spread > 30).mean()))
        if len(shares) >= LOOKED_AT:
            break
    return shares
