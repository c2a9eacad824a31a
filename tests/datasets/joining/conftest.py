"""Series that arrive as from a scanner: slices cut out of a real MR volume, by C-STORE or STOW-RS, sorted out by the job."""

import csv
import io
import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.uid import MRImageStorage

from accounts.models import Organisation
from datasets import intake
from datasets.importing import services
from datasets.importing.models import Importer
from datasets.models import Upload
from datasets.receiving.models import DicomInstance
from tests.conftest import actor
from tests.datasets.dicom.files import fresh_uid, slice_of
from tests.datasets.given_series import content
from tests.datasets.importing.conftest import database as database
from tests.datasets.importing.core.conftest import reachable as reachable
from tests.datasets.importing.core.conftest import visits as visits
from tests.datasets.receiving.conftest import allowed as allowed
from tests.datasets.receiving.conftest import lines as lines
from tests.datasets.receiving.test_web import store
from tests.real import brain

Run = Callable[[], int]
ORIENTATIONS = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}
numbers = itertools.count(6000)
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}


@cache
def volume() -> np.ndarray[Any, Any]:
    values = np.asarray(nibabel.load(brain()).dataobj, dtype=np.float32)
    return np.rint(1000 * values / values.max()).astype("<u2")


def mr(plane: str = "axial", count: int = 5, *, patient: str = "MRN-1", uid: str = "", first: int = 0, **more: Any) -> list[Any]:
    """The slices of an MR series through the average brain (152 people) that nilearn ships."""
    brain_, axis, made = volume(), AXES[plane], []
    own, study = uid or f"1.2.826.0.1.3680043.8.498.{next(numbers)}", more.pop("StudyInstanceUID", fresh_uid())
    for number in range(first, first + count):
        values = np.take(brain_, brain_.shape[axis] // 3 + 4 * number, axis)[::2, ::2]
        place = [0.0, 0.0, 0.0]
        place[axis] = 4.0 * number
        data = slice_of(
            number, SeriesInstanceUID=own, StudyInstanceUID=study, SOPInstanceUID=f"{own}.{number + 1}",
            SOPClassUID=MRImageStorage, Modality="MR", PatientID=patient, PatientName=f"Quillfeather^{patient}",
            BodyPartExamined="HEAD", SeriesDescription="t1 of Mr Quillfeather", ImageOrientationPatient=ORIENTATIONS[plane],
            ImagePositionPatient=place, **more,
        )  # fmt: skip
        data.Rows, data.Columns = values.shape
        data.PixelData = values.tobytes()
        data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
        made.append(data)
    return made


@pytest.fixture
def stow(dana: Any, api_of: Any, run_jobs: Run) -> Callable[..., None]:
    """Stored over DICOMweb, and sorted out."""

    def send(*images: Any, who: Any = dana) -> None:
        assert store(api_of(who), *map(content, images)).status_code == 200
        run_jobs()

    return send


def time_passes(organisation: Organisation, minutes: int = 60) -> None:
    """As if all that has arrived had come so much earlier."""
    for row in DicomInstance.objects.for_organisation(organisation):
        DicomInstance.objects.filter(pk=row.pk).update(created_at=row.created_at - timedelta(minutes=minutes))


def table(rows: Sequence[Sequence[str]]) -> io.BytesIO:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return io.BytesIO(text.getvalue().encode())


def imported(who: Any, rows: Sequence[Sequence[str]], run_jobs: Run, columns: Sequence[dict[str, Any]] = ()) -> Upload:
    """Uploaded, confirmed as it is previewed but for `columns`, and imported."""
    upload = intake.receive(actor=actor(who), file=table(rows), name="labels.csv")
    intake.confirm(actor=actor(who), upload=upload, new_dataset_name=f"Set {upload.pk}", columns=columns)
    run_jobs()
    upload.refresh_from_db()
    return upload


def of_received(who: Any, name: str = "Received", **settings: Any) -> Importer:
    given = {"modality": "", "body_part": "", "receiver": "", "least": 1, "quiet_minutes": 10, **settings}
    return services.add_importer(
        actor=actor(who), name=name, kind="received", settings=given, treatment="rows", dataset=None, zone="UTC"
    )
