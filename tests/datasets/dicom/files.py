"""DICOM files for the tests: pydicom's own, and ones made here. Warnings of pydicom are what is tested for, not with."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SECRET = b"a secret of an organisation, 32 b"


def every_file() -> list[Path]:
    """All that pydicom ships to test with, the broken ones and those that are no DICOM too."""
    return sorted(path for path in TEST_FILES.rglob("*") if path.is_file())


def loaded(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def saved(data: Dataset, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(path, enforce_file_format=True)
    return path


def slice_of(number: int = 0, **more: Any) -> Dataset:
    """A CT slice of 32 × 32, one every 2.5 mm, of a patient who does not exist."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.777.1.{number + 1}"
    data.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.777.2"
    data.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.777.3"
    data.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.777.4"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PatientName, data.PatientID = "Quillfeather^Zebedee", "MRN-5577341"
    data.PatientBirthDate, data.PatientSex, data.PatientAge = "19670423", "M", "059Y"
    data.StudyDate, data.StudyTime, data.AccessionNumber = "20260314", "101500", "ACC-88123"
    data.InstanceNumber = number + 1
    data.Rows = data.Columns = 32
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    data.PixelSpacing, data.SliceThickness = [0.5, 0.5], "2.5"
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.5 * number]
    data.PixelData = np.full((32, 32), 1000 + number, dtype="<u2").tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    return data


def series(folder: Path, count: int = 4, **more: Any) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        yield saved(slice_of(number, **more), folder / f"{number}.dcm")


def fresh_uid() -> str:
    return str(generate_uid())
