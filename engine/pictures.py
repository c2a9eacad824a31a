"""Pictures from files and arrays: what Pillow reads, and DICOM as a radiologist's screen would show it."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import FileRefused
from engine.files import members
from engine.jpeg12 import register

Pixels = NDArray[np.float32]  # (height, width, 3), 0 (black) to 1

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
MOST_PIXELS = (
    80_000_000  # of a picture or a frame; a file that claims more is refused before anything is decoded
)
MOST_INFLATED = 2**30  # bytes of a deflated DICOM data set
READ_AT_ONCE = 2**22  # bytes; a smaller file is read by one call, where a decoder alone would make a dozen
WORKING = 256  # pixels of the longer side that features and networks work on
DEFLATED = "1.2.840.10008.1.2.1.99"
LOW, HIGH = 0.005, 0.995  # what is shown as black and white where nothing says so
_NO_PIXELS = "holds no picture"


def read_picture(source: Path | NDArray[Any]) -> Pixels:
    """A picture with its longer side at most WORKING. Raises FileRefused or what the decoder raises.

    A folder counts as its only file (a DICOM study exported with one picture). Of a DICOM cine the middle frame.
    """
    return show_picture(source, WORKING)


def show_picture(source: Path | NDArray[Any], longest: int) -> Pixels:
    """The same for people: with its longer side at most `longest`."""
    if isinstance(source, np.ndarray):
        return shrink(_from_array(source), longest)
    if source.is_dir():
        files = list(members(source, 1))
        if not files:
            raise FileRefused("file_unreadable", _NO_PIXELS)
        source = files[0]
    with source.open("rb") as file:
        content = file.read(READ_AT_ONCE)
    if _says_dicom(content, source):
        pixels = _from_dicom(source)
    else:
        pixels = _from_pillow(io.BytesIO(content) if len(content) < READ_AT_ONCE else source, 2 * longest)
    return shrink(pixels, longest)


def is_dicom(path: Path) -> bool:
    """By its content: a stored file has no ending to go by."""
    with path.open("rb") as file:
        return _says_dicom(file.read(132), path)


def _says_dicom(head: bytes, path: Path) -> bool:
    return head[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _from_pillow(source: Path | BinaryIO, enough: int) -> Pixels:
    """Decoded with its longer side at most `enough`, which is cheaper where the picture is large."""
    from PIL import Image, ImageOps

    with Image.open(source, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS or min(image.size) < 1:
            raise FileRefused("file_unreadable", "too many pixels")
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            image.draft(image.mode, (enough, enough))  # decodes large photographs at a fraction of the cost
        turned = ImageOps.exif_transpose(image)
        if turned.mode in ("I", "F") or turned.mode.startswith("I;16"):
            return _from_array(np.asarray(turned))
        plain = turned.convert("L" if turned.mode in ("1", "L", "LA") else "RGB")
        plain.thumbnail((enough, enough), Image.Resampling.BOX)
        return _from_array(np.asarray(plain))


def _from_array(array: NDArray[Any]) -> Pixels:
    """Grey or colour, any number type, to (h, w, 3) from 0 to 1; a fourth channel (alpha) is left out."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise FileRefused("file_unreadable", f"an array of shape {array.shape} is no picture")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise FileRefused("file_unreadable", "too many pixels")
    scaled = to_unit(array[:, :, :3] if array.ndim == 3 else array)
    return scaled if scaled.ndim == 3 else _as_colour(scaled)


def _as_colour(grey: NDArray[np.float32]) -> Pixels:
    """The one layer seen three times: not copied, and so not to be written to."""
    return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))


def to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers to 0..1: eight bits by 255; wider integers by the smallest usual depth that holds them (10, 12, 14, 16
    bits: one factor per depth, so that pictures of a camera stay comparable); all else between its own percentiles."""
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255.0)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() < 2**16:
        top = int(array.max())
        depth = next(bits for bits in (8, 10, 12, 14, 16) if top < 2**bits)
        return array.astype(np.float32) / np.float32(2**depth - 1)
    values = np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0)
    if array.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1.0:
        return values
    return between_percentiles(values)


def between_percentiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The LOW quantile becomes 0, the HIGH one 1; what has no spread is 0."""
    low, high = np.quantile(values, (LOW, HIGH))
    if high - low < 1e-12:
        low, high = float(values.min()), float(values.max())
    span = high - low if high - low > 1e-12 else np.inf
    return np.clip((values - low) / span, 0.0, 1.0).astype(np.float32)


def read_dicom(path: Path | BinaryIO, *, header: bool = False, later: bool = False) -> Any:
    """The data set, after bounding what it may unpack to; with `header` without its pixels, with `later` with long elements
    that are only read when they are asked for. A stream is of a member of a pack (see engine.packs)."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    if not isinstance(path, Path):
        head = path.read(2048)
        if DEFLATED.encode() in head:
            _check_inflated(path, 144 + int.from_bytes(head[140:144], "little"))
        path.seek(0)
        return dcmread(path, stop_before_pixels=header)
    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
        with path.open("rb") as file:
            _check_inflated(file, 144 + int(meta.get("FileMetaInformationGroupLength", 0)))
    return dcmread(path, stop_before_pixels=header, defer_size=2**20 if later else None)


def _check_inflated(file: BinaryIO, start: int) -> None:
    """Inflates piece by piece and throws away, to see how much it would be (preamble and group length: 144 bytes)."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    file.seek(start)
    while piece := file.read(2**16):
        while piece:
            total += len(inflater.decompress(piece, 2**20))
            piece = inflater.unconsumed_tail
            if total > MOST_INFLATED:
                raise FileRefused("file_unreadable", "too large when unpacked")


def frames_of(data: Any) -> int:
    """How many frames a data set has. Raises FileRefused where it has no pixels, or claims too many."""
    rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
    if (
        rows < 1
        or columns < 1
        or not ("PixelData" in data or "FloatPixelData" in data or "DoubleFloatPixelData" in data)
    ):
        raise FileRefused("file_unreadable", _NO_PIXELS)
    if rows * columns > MOST_PIXELS:
        raise FileRefused("file_unreadable", "too many pixels")
    return max(1, int(data.get("NumberOfFrames", 1) or 1))


def frame_values(data: Any, index: int, path: Path | None = None) -> NDArray[Any]:
    """One frame: colour (h, w, 3), or the modality's values (Hounsfield units for CT), DICOM PS3.3 C.11.1.

    With the `path` only this frame's pixels are read, and `data` needs none.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    frame = raw_frame(data, index, path)
    if str(data.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        return np.asarray(apply_color_lut(frame, data))
    if frame.ndim == 3:
        return np.asarray(frame)
    return np.asarray(apply_modality_lut(frame, with_functional_groups(data, index)))


def raw_frame(data: Any, index: int, path: Path | None = None) -> NDArray[Any]:
    """One frame by the first decoder that manages it. GDCM is asked last: some damaged JPEGs make it end the process."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    register()
    source = data if path is None else path
    syntax = data.file_meta.TransferSyntaxUID
    names = get_decoder(syntax).available_plugins if syntax.is_compressed and not syntax.is_deflated else ()
    failure: Exception | None = None
    for name in sorted(names, key=lambda known: known.startswith("gdcm")):
        try:
            return np.asarray(pixel_array(source, index=index, decoding_plugin=name))
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure
    return np.asarray(pixel_array(source, index=index))


def with_functional_groups(data: Any, index: int) -> Any:
    """Rescaling and windows of enhanced multi-frame objects lie in functional groups (PS3.3 C.7.6.16), not on top."""
    shared = list(data.get("SharedFunctionalGroupsSequence", None) or [])
    own = list(data.get("PerFrameFunctionalGroupsSequence", None) or [])
    groups = shared[:1] + own[index : index + 1]
    if not groups:
        return data
    from pydicom.dataset import Dataset

    joined = Dataset()
    for element in data:
        if element.tag.group in (0x0008, 0x0028) and element.VR != "SQ":
            joined.add(element)
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in list(group.get(name, None) or [])[:1]:
                joined.update(item)
    return joined


def _from_dicom(path: Path) -> Pixels:
    data = read_dicom(path)
    return dicom_picture(data, frames_of(data) // 2)


def dicom_picture(data: Any, index: int, window: tuple[float, float] | None = None) -> Pixels:
    """One frame as shown: VOI LUT or window (the first one), MONOCHROME1 and the inverse presentation turned round.

    `window`: (centre, width) in the modality's values in the place of the file's own; colour has none.
    """
    from pydicom.pixels.processing import apply_voi_lut

    values = frame_values(data, index)
    if values.ndim == 3:
        return _from_array(values if values.dtype == np.uint8 else _by_depth(values, data))
    info = with_functional_groups(data, index)
    if window is not None:
        grey = _windowed(np.nan_to_num(values.astype(np.float32)), *window)
        return _as_colour(np.float32(1.0) - grey if inverse(data) else grey)
    shown = values
    if "VOILUTSequence" in info or ("WindowCenter" in info and "WindowWidth" in info):
        shown = np.asarray(apply_voi_lut(values, info, index=0))
    grey = _shown(
        np.nan_to_num(shown.astype(np.float32)), np.nan_to_num(values.astype(np.float32)), shown is not values
    )
    if inverse(data):
        grey = np.float32(1.0) - grey
    return _as_colour(grey)


def inverse(data: Any) -> bool:
    mono1 = str(data.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    return mono1 or str(data.get("PresentationLUTShape", "")) == "INVERSE"


def _windowed(values: NDArray[np.float32], centre: float, width: float) -> NDArray[np.float32]:
    """PS3.3 C.11.2.1.2, LINEAR, to 0..1; a width below 1 is taken as 1, a step at the centre."""
    if width <= 1:
        return (values > centre - 0.5).astype(np.float32)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0.0, 1.0).astype(np.float32)


def _shown(shown: NDArray[np.float32], values: NDArray[np.float32], windowed: bool) -> NDArray[np.float32]:
    """0..1; a window that leaves nothing to see (a wrong one) is not used."""
    low, high = float(shown.min()), float(shown.max())
    if windowed and high > low:
        return ((shown - low) / (high - low)).astype(np.float32)
    return between_percentiles(values)


def _by_depth(values: NDArray[Any], data: Any) -> NDArray[np.float32]:
    top = 2.0 ** int(data.get("BitsStored", 16) or 16) - 1.0
    return np.clip(values.astype(np.float32) / np.float32(top), 0.0, 1.0)


def resize(pixels: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(h, w, channels) to another size: the mean of what falls into a pixel, linear where it grows."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    smaller = height <= pixels.shape[0] and width <= pixels.shape[1]
    method = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    if pixels.shape[2] == 3 and pixels.strides[2] == 0:  # grey: see _as_colour
        return _as_colour(np.asarray(Image.fromarray(np.ascontiguousarray(pixels[:, :, 0])).resize((width, height), method)))
    layers = [
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels[:, :, k])).resize((width, height), method))
        for k in range(pixels.shape[2])
    ]
    return np.stack(layers, axis=2)


def shrink(pixels: Pixels, longest: int) -> Pixels:
    """The same picture with its longer side at most `longest`."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1.0:
        return pixels
    return resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
