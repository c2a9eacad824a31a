"""DICOM: a picture, a slice of a series, a volume, a cine or a recording, told by pydicom; the first frame is decoded."""

import io
import struct
from pathlib import Path
from typing import Any

from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks.pictures import check_pixels
from engine.errors import FileRefused

DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
ENCAPSULATED = 0xFFFFFFFF  # length of a value that is told by its delimiter
DEFER = 64 * 1024  # bytes; longer values stay in the file until they are asked for
PLANES = frozenset(
    {"CT", "MR", "PT", "NM", "RTDOSE"}
)  # modalities whose frames are planes of space, not of time
VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split())
UNSUPPORTED = (
    "does not support",
    "missing required dependencies",
)  # pydicom's words for a codec that is not there
PIXELS = {
    "PixelData": None,
    "FloatPixelData": 32,
    "DoubleFloatPixelData": 64,
}  # bits of one value, where fixed


def without_preamble(head: bytes) -> bool:
    """Whether the content begins as a data set does: group 2 or 8, then a value representation or a short length."""
    if head[:2] in (b"\x02\x00", b"\x08\x00"):
        element, length = struct.unpack_from("<HI", head.ljust(12, b"\x00"), 2)
        return head[4:6] in VRS or (element <= 0x0020 and length <= 64)
    return head[:2] == b"\x00\x08" and head[4:6] in VRS


def look(path: Path, form: str) -> Found:
    """Raises Refused, or what pydicom raises for a damaged file."""
    from pydicom.uid import UID

    data = _read(path)
    sop = str(data.file_meta.get("MediaStorageSOPClassUID", "") or data.get("SOPClassUID", "") or "")
    if sop == DIRECTORY or "DirectoryRecordSequence" in data:
        return Found(Shape.INDEX, "dicomdir", {"files": _referenced(data)})
    if "WaveformSequence" in data:
        return _waveform(data)
    element = next((name for name in PIXELS if name in data), None)
    if element is None:
        name = UID(sop).name
        if ("Rows" in data and "Columns" in data) or "Image Storage" in name or "Waveform Storage" in name:
            raise Refused("truncated")  # it says that there is a picture, and there is none
        raise Refused("dicom_kind", name=name if name != sop else "?")
    return _picture(path, data, element)


def _read(path: Path) -> Any:
    from pydicom import dcmread

    from engine.pictures import DEFLATED, _check_inflated

    with path.open("rb") as stream:
        preamble = stream.read(132)[128:] == b"DICM"
    if preamble:
        from pydicom.filereader import read_file_meta_info

        meta = read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
            try:
                with path.open("rb") as stream:
                    _check_inflated(stream, 144 + int(meta.get("FileMetaInformationGroupLength", 0)))
            except FileRefused as error:
                raise Refused("bomb") from error
            return dcmread(path)
    data = dcmread(path, defer_size=DEFER, force=not preamble)
    if not len(data):
        raise Refused("unknown" if not preamble else "truncated")
    return data


def _picture(path: Path, data: Any, element: str) -> Found:
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if min(rows, columns) < 1:
        raise Refused("damaged", format="DICOM")
    check_pixels(columns, rows)
    frames = max(1, int(data.get("NumberOfFrames") or 1))
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated:
        _check_fragments(path, data, element)
    else:
        _check_length(path, data, element, rows * columns * frames)
    facts: dict[str, Any] = {"width": columns, "height": rows, "frames": frames}
    if syntax is not None and str(syntax).startswith("1.2.840.10008.1.2.4.10"):  # MPEG-2, H.264, H.265
        _mpeg(path)
        return Found(Shape.VIDEO, "dicom", facts)
    _decode(path, data, syntax)
    if frames > 1:
        planes = (
            "PerFrameFunctionalGroupsSequence" in data
            or "GridFrameOffsetVector" in data
            or str(data.get("Modality", "")) in PLANES
        )
        moving = any(name in data for name in ("FrameTime", "FrameTimeVector", "CineRate"))
        return Found(Shape.VOLUME if planes and not moving else Shape.VIDEO, "dicom", facts)
    placed = data.get("ImagePositionPatient") is not None and data.get("SeriesInstanceUID") is not None
    return Found(Shape.SLICE if placed else Shape.IMAGE, "dicom", facts)


def _raw(path: Path, data: Any, element: str) -> tuple[int, int] | None:
    """(place, length) of the pixels in the file; None where they were read already (small, or deflated)."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement

    raw = data.get_item(tag_for_keyword(element))
    if isinstance(raw, RawDataElement) and raw.value is None:
        return int(raw.value_tell), int(raw.length)
    return None


def _check_length(path: Path, data: Any, element: str, values: int) -> None:
    """As many bytes as rows, columns, frames, samples and bits say; padded to an even number."""
    samples = max(1, int(data.get("SamplesPerPixel") or 1))
    bits = PIXELS[element] or int(data.get("BitsAllocated") or 0)
    if not 1 <= bits <= 64:
        raise Refused("damaged", format="DICOM")
    needed = -(-values * samples * bits // 8)
    if str(data.get("PhotometricInterpretation", "")).startswith("YBR_FULL_422"):
        needed = -(-values * 2 * bits // 8)
    place = _raw(path, data, element)
    if place is None:
        claimed = there = len(data[element].value)
    else:
        claimed, there = place[1], min(place[1], path.stat().st_size - place[0])
    if there < min(claimed, needed) or claimed < needed:
        raise Refused("truncated" if there < claimed else "wrong_size")
    if claimed > 2 * needed + 1024 * 1024:  # some devices pad generously
        raise Refused("wrong_size")


def _check_fragments(path: Path, data: Any, element: str) -> None:
    """The fragments of compressed pixels follow each other up to their delimiter."""
    place = _raw(path, data, element)
    if place is None:
        return  # small enough to have been read to its delimiter
    size = path.stat().st_size
    with path.open("rb") as stream:
        at = place[0]
        while True:
            stream.seek(at)
            item = stream.read(8)
            if len(item) < 8:
                raise Refused("truncated")
            group, number, length = struct.unpack("<HHI", item)
            if (group, number) == (0xFFFE, 0xE0DD):
                return
            if (group, number) != (0xFFFE, 0xE000):
                raise Refused("damaged", format="DICOM")
            at += 8 + length
            if at > size:
                raise Refused("truncated")


def _decode(path: Path, data: Any, syntax: Any) -> None:
    """The first frame, through the engine's own door."""
    from engine.pictures import frame_values

    try:
        source = data
        if syntax is None:  # pydicom asks for one even where little endian is meant
            from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

            implicit = data.original_encoding[0]
            source.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            )
        frame_values(source, 0)
    except (NotImplementedError, RuntimeError) as error:
        name = str(getattr(syntax, "name", "?"))
        if isinstance(error, NotImplementedError) or any(word in str(error) for word in UNSUPPORTED):
            raise Refused("codec", name=name) from error
        raise Refused("damaged", format="DICOM") from error
    except (FileRefused, ValueError, AttributeError, KeyError, EOFError, struct.error) as error:
        raise Refused("damaged", format="DICOM") from error


def _mpeg(path: Path) -> None:
    from datasets.arrivals.looks.videos import first_frame
    from engine.video.readers import FORMATS, _stream

    first_frame(io.BytesIO(_stream(path)), FORMATS)


def _waveform(data: Any) -> Found:
    groups = list(data.WaveformSequence)
    if not groups:
        raise Refused("damaged", format="DICOM")
    longest = max(groups, key=lambda group: int(group.NumberOfWaveformSamples))
    for group in groups:
        samples, channels = int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels)
        width = int(group.get("WaveformBitsAllocated") or 16) // 8
        if len(group.WaveformData) < samples * channels * width:
            raise Refused("truncated")
    seconds = int(longest.NumberOfWaveformSamples) / float(longest.SamplingFrequency)
    return Found(
        Shape.SIGNAL,
        "dicom",
        {"channels": int(longest.NumberOfWaveformChannels), "seconds": round(seconds, 3)},
    )


def _referenced(data: Any) -> list[str]:
    """The files that a DICOMDIR lists, as relative names with slashes."""
    names = []
    for record in data.get("DirectoryRecordSequence", None) or []:
        parts = record.get("ReferencedFileID")
        if parts is not None:
            names.append("/".join([parts] if isinstance(parts, str) else [str(part) for part in parts]))
    return names
