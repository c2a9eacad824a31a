"""Real small files of every kind, made by the programs that write them, and what is done to them to make them bad."""

import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NOTE = "Patient has had pain in the chest since two days.\nNo fever, no cough. Blood pressure is normal.\n"
TABLE = "mrn,age,diagnosis\np1,50,ill\np2,61,well\np3,44,ill\n"


def picture(form: str, seed: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture by Pillow."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def nifti(shape: tuple[int, ...] = (8, 9, 10)) -> bytes:
    import nibabel

    image = nibabel.Nifti1Image(np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape), np.eye(4))
    return bytes(image.to_bytes())


def clip(form: str, codec: str = "mpeg4", folder: Path | None = None) -> bytes:
    """Half a second of moving noise by FFmpeg."""
    import av

    out = io.BytesIO()
    dice = np.random.default_rng(1)
    with av.open(out, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for _number in range(12):
            frame = av.VideoFrame.from_ndarray(dice.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return out.getvalue()


def edf(folder: Path) -> bytes:
    import edfio

    signal = edfio.EdfSignal(np.sin(np.arange(1000) / 9), 100, label="ECG")
    path = folder / "made.edf"
    edfio.Edf([signal]).write(path)
    return path.read_bytes()


def wfdb() -> tuple[bytes, bytes]:
    """Header and samples of a record called "r1" (format 16)."""
    samples = np.round(1000 * np.sin(np.arange(500) / 7)).astype("<i2")
    return b"r1 1 250 500\nr1.dat 16 200/mV 16 0 0 0 0 ECG\n", samples.tobytes()


def pdf(text: str = "Chest pain since two days") -> bytes:
    """A PDF of one page with a line of text, written by hand as the specification's first example does."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    out, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(parts) + 1, start)


def docx(*paragraphs: str) -> bytes:
    import docx as library

    document = library.Document()
    for paragraph in paragraphs or ("Chest pain since two days",):
        document.add_paragraph(paragraph)
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Haemoglobin", "13.4"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def workbook() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["mrn", "age"], ["p1", 50], ["p2", 60]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def parquet() -> bytes:
    import pandas as pd

    out = io.BytesIO()
    pd.DataFrame({"mrn": ["p1", "p2"], "age": [50, 60]}).to_parquet(out)
    return out.getvalue()


def dicom(name: str) -> bytes:
    """One of pydicom's own test files, inside its wheel."""
    import pydicom

    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def good(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """name → (kind, format, content): one of everything that is taken."""
    return {
        "png": ("image", "png", picture("PNG")),
        "jpeg": ("image", "jpeg", picture("JPEG")),
        "tiff": ("image", "tiff", picture("TIFF")),
        "bmp": ("image", "bmp", picture("BMP")),
        "webp": ("image", "webp", picture("WEBP")),
        "nifti": ("volume", "nifti", nifti()),
        "nifti.gz": ("volume", "nifti.gz", gzip.compress(nifti())),
        "mp4": ("video", "mp4", clip("mp4")),
        "mov": ("video", "mov", clip("mov")),
        "avi": ("video", "avi", clip("avi")),
        "mkv": ("video", "mkv", clip("matroska")),
        "mpeg": ("video", "mpeg", clip("mpeg", "mpeg2video")),
        "gif": ("video", "gif", clip("gif", "gif")),
        "edf": ("signal", "edf", edf(folder)),
        "txt": ("text", "txt", NOTE.encode()),
        "txt, Chinese, GB18030": ("text", "txt", "患者头痛三天，无发热。\n血压正常。\n".encode("gb18030")),
        "pdf": ("text", "pdf", pdf()),
        "docx": ("text", "docx", docx()),
        "csv": ("table", "csv", TABLE.encode()),
        "tsv": ("table", "tsv", TABLE.replace(",", "\t").encode()),
        "csv.gz": ("table", "csv", gzip.compress(TABLE.encode())),
        "xlsx": ("table", "xlsx", workbook()),
        "parquet": ("table", "parquet", parquet()),
        "zip": ("archive", "zip", packed({"a.txt": b"a note\n"})),
        "dicom picture": ("image", "dicom", dicom("SC_rgb_rle.dcm")),
        "dicom slice": ("slice", "dicom", dicom("CT_small.dcm")),
        "dicom cine": ("video", "dicom", dicom("examples_ybr_color.dcm")),
        "dicom volume": ("volume", "dicom", dicom("rtdose.dcm")),
        "dicom recording": ("signal", "dicom", dicom("waveform_ecg.dcm")),
        "dicom, big endian, without preamble's meta": ("slice", "dicom", dicom("MR_small_bigendian.dcm")),
        "dicom, deflated": ("image", "dicom", dicom("image_dfl.dcm")),
        "dicom with a TIFF preamble": ("slice", "dicom", dicom("MR_small_implicit.dcm")),
        "DICOMDIR": ("index", "dicomdir", dicom("dicomdirtests/DICOMDIR")),
    }


def bad() -> Iterator[tuple[str, bytes, set[str]]]:
    """(what, content, codes that say it): truncated, two-faced and lying files, and what is not taken at all."""
    png, jpeg, bmp, webp = (picture(form) for form in ("PNG", "JPEG", "BMP", "WEBP"))
    mp4, volume, archive = clip("mp4"), nifti(), packed({"a.txt": b"a note\n"})
    yield "nothing", b"", {"empty"}
    yield "blanks", b"  \n ", {"empty"}
    for name, content in (("PNG", png), ("JPEG", jpeg), ("BMP", bmp), ("WebP", webp), ("GIF", clip("gif", "gif")),
                          ("TIFF", picture("TIFF")), ("MP4", mp4), ("AVI", clip("avi")), ("NIfTI", volume),
                          ("gzipped NIfTI", gzip.compress(volume)), ("PDF", pdf()), ("DOCX", docx()), ("XLSX", workbook()),
                          ("Parquet", parquet()), ("ZIP", archive), ("CT", dicom("CT_small.dcm")),
                          ("compressed DICOM", dicom("JPEG2000.dcm")), ("ECG", dicom("waveform_ecg.dcm"))):  # fmt: skip
        yield f"{name}, cut off", content[: len(content) * 2 // 3], {"truncated", "damaged", "wrong_size", "unreadable_table"}
    yield "EDF, cut off", b"", {"empty"}
    yield "PNG with an archive behind", png + archive, {"polyglot"}
    yield "JPEG with an archive behind", jpeg + archive, {"polyglot"}
    yield "GIF with an archive behind", clip("gif", "gif") + archive, {"polyglot"}
    yield "PDF with an archive behind", pdf() + archive, {"polyglot"}
    yield "text with an archive behind", NOTE.encode() + archive, {"polyglot"}
    yield "PNG with a PDF behind", png + pdf(), {"polyglot"}
    yield "PNG with a program behind", png + b"MZ" + b"\x01" * 500, {"polyglot"}
    yield "PNG with something behind", png + b"hidden" * 100, {"trailing_data"}
    yield "DICOM with a program in its preamble", b"MZ" + bytes(126) + dicom("CT_small.dcm")[128:], {"polyglot"}
    yield "PNG that claims 60,000 × 60,000", _claiming(png, 60_000, 60_000), {"too_many_pixels"}
    yield "BMP that claims 60,000 × 60,000", bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:], {"too_many_pixels"}
    yield "NIfTI that claims more", volume[:42] + struct.pack("<h", 500) + volume[44:], {"truncated", "wrong_size"}
    yield "NIfTI that claims less", volume[:42] + struct.pack("<h", 4) + volume[44:], {"wrong_size"}
    yield "a program", b"MZ" + bytes(range(256)) * 4, {"program"}
    yield "a script", b"#!/bin/sh\nrm -rf /\n", {"program"}
    yield "a page", b"<!DOCTYPE html><html><script>alert(1)</script></html>", {"markup"}
    yield "RTF", rb"{\rtf1 hello}", {"markup"}
    yield "7z", b"7z\xbc\xaf\x27\x1c" + bytes(100), {"archive_format"}
    yield "tar", bytes(257) + b"ustar\x0000" + bytes(300), {"archive_format"}
    yield "old Excel", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), {"old_office"}
    yield "noise", bytes(np.random.default_rng(5).integers(0, 256, 5000, dtype=np.uint8)), {"unknown"}
    yield "a playlist", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", {"text"}
    yield "a treatment plan", dicom("rtplan.dcm"), {"dicom_kind"}
    yield "a WFDB header alone", wfdb()[0], {"incomplete"}


def _claiming(png: bytes, width: int, height: int) -> bytes:
    import zlib

    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
