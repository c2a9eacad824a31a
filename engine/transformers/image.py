"""Pictures: what a glance would measure (brightness, colour, texture, edges, a thumbnail), and 64 x 64 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.pictures import Pixels, read_picture, resize
from engine.schema import Kind
from engine.transformers.base import transformer
from engine.transformers.files import FileTransformer, Source

SIDE = 64  # of a tensor
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
SCALES = (128, 64, 32)  # sides at which texture is looked at
DIRECTIONS, CELLS = 8, 4  # of gradients; a grid of 4 x 4

# Rotation-invariant uniform patterns (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623): the number of brighter
# neighbours where they lie together, one more class for all others.
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1
_TURNS = np.abs(np.diff(_BITS, axis=1, append=_BITS[:, :1])).sum(axis=1)
PATTERN = np.where(_TURNS <= 2, _BITS.sum(axis=1), 9)
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@transformer(Kind.IMAGE)
class ImageTransformer(FileTransformer):
    """A picture's size is no feature: it tells of the device, not of the patient."""

    width = 12 + 16 + 16 + len(SCALES) * (10 + 2) + DIRECTIONS * CELLS * CELLS + 64 + 32
    shape = (3, SIDE, SIDE)
    seconds = 1.5e-3
    looks = Kind.IMAGE

    def read(self, source: Source) -> Pixels:
        """(h, w, 3) from 0 to 1."""
        return read_picture(source)

    def describe(self, item: Any) -> NDArray[Any]:
        """Brightness 12, its histogram 16, colour 16, texture 12 per scale, gradients 128, thumbnails 64 and 32."""
        return self._described(item, resize(item, SIDE, SIDE))

    def measured(self, item: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Made small once for both."""
        small = resize(item, SIDE, SIDE)
        return self._described(item, small), _tensor(small)

    def _described(self, item: Pixels, small: Pixels) -> NDArray[Any]:
        grey = item @ LUMA
        texture = [_texture(resize(grey[:, :, None], side, side)[:, :, 0]) for side in SCALES]
        return np.concatenate([
            _brightness(grey), _histogram(grey, 16), _colour(small), *texture,
            _gradients(small @ LUMA), _thumbnails(small),
        ])  # fmt: skip

    def views(self, item: Any) -> list[NDArray[np.float32]]:
        """The picture itself."""
        return [item]

    def sketch(self, item: Any) -> NDArray[Any]:
        """(3, 64, 64) from 0 to 255."""
        return _tensor(resize(item, SIDE, SIDE))


def _tensor(small: Pixels) -> NDArray[np.uint8]:
    return np.rint(small * 255.0).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def _brightness(grey: NDArray[Any]) -> NDArray[Any]:
    mean, deviation = float(grey.mean()), float(grey.std())
    z = (grey - mean) / max(deviation, 1e-6)
    share = _histogram(grey, 64)
    entropy = -float((share * np.log2(np.maximum(share, 1e-12))).sum())
    square = z * z  # numpy's powers of 3 and 4 take ten times as long
    shape = [float((square * z).mean()), min(float((square * square).mean()), 100.0), entropy]
    return np.array([mean, deviation, *np.quantile(grey, QUANTILES), *shape])


def _histogram(values: NDArray[Any], bins: int) -> NDArray[Any]:
    place = np.minimum((np.clip(values, 0.0, 1.0) * bins).astype(np.int64), bins - 1)
    return np.bincount(place.ravel(), minlength=bins) / place.size


def _colour(pixels: NDArray[Any]) -> NDArray[Any]:
    """Means and deviations of red, green and blue; of saturation; and how much there is of each of eight hues."""
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    low, high = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    chroma = high - low
    saturation = chroma / np.maximum(high, 1e-6)
    hue = np.arctan2(np.sqrt(3.0) * (green - blue), 2.0 * red - green - blue) / (2.0 * np.pi) % 1.0
    place = np.minimum((hue * 8).astype(np.int64), 7)
    hues = np.bincount(place.ravel(), weights=chroma.ravel(), minlength=8) / place.size
    flat = pixels.reshape(-1, 3)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0), [saturation.mean(), saturation.std()], hues])


def _texture(grey: NDArray[Any]) -> NDArray[Any]:
    """Shares of the ten local patterns, then mean and deviation of the gradient's length."""
    centre = grey[1:-1, 1:-1]
    height, width = centre.shape
    codes = np.zeros(centre.shape, dtype=np.uint8)
    for bit, (down, right) in enumerate(_AROUND):
        neighbour = grey[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        codes |= (neighbour > centre).view(np.uint8) << np.uint8(bit)
    shares = np.bincount(PATTERN[codes].ravel(), minlength=10) / codes.size
    down, right = np.gradient(grey)
    length = np.hypot(down, right)
    return np.concatenate([shares, [length.mean(), length.std()]])


def _gradients(grey: NDArray[Any]) -> NDArray[Any]:
    """Histograms of oriented gradients on a grid (Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177), square-rooted."""
    down, right = np.gradient(grey)
    angle = np.arctan2(down, right) / np.pi % 1.0
    direction = np.minimum((angle * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    rows = np.arange(SIDE) * CELLS // SIDE
    cell = rows[:, None] * CELLS + rows[None, :]
    size = CELLS * CELLS * DIRECTIONS
    sums = np.bincount((cell * DIRECTIONS + direction).ravel(), weights=np.hypot(down, right).ravel(), minlength=size)
    return np.sqrt(sums / max(float(sums.sum()), 1e-9))


def _thumbnails(pixels: NDArray[Any]) -> NDArray[Any]:
    """8 x 8 of grey, and 4 x 4 of the two differences of colours."""
    grey = resize((pixels @ LUMA)[:, :, None], 8, 8)
    small = resize(pixels, 4, 4)
    red_green, blue_yellow = small[:, :, 0] - small[:, :, 1], small[:, :, 2] - small[:, :, :2].mean(axis=2)
    return np.concatenate([grey.ravel(), red_green.ravel(), blue_yellow.ravel()])
