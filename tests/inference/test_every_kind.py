"""Volumes, signals and video go the whole way too: zip, records, training, diagnosis with its drawn reasons, review.

Real data: slabs of the MNI brain that nilearn ships, a twelve-lead ECG of pydicom cut into seconds, lung ultrasound clips.
"""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from PIL import Image

from datasets.models import Record
from inference.models import Diagnosis
from inference.reviews import review
from tests.conftest import actor
from tests.datasets.test_cells_intake import imported, zipped
from tests.real import brain
from tests.training.test_cells import trained
from training.services import confirm_champion

pytestmark = [pytest.mark.slow, pytest.mark.once]  # each decodes, trains and explains: about half a minute
Parts = dict[str, bytes]


def brain_slabs() -> Parts:
    """Slabs of 12 mm across the upper and the lower half of a head, as NIfTI."""
    import nibabel as nib

    whole = nib.load(brain())
    values = np.asarray(whole.dataobj)[::3, ::3].astype(np.float32)
    parts: Parts = {}
    for number in range(40):
        start = 20 + 3 * number
        affine = np.diag([3.0, 3.0, 1.0, 1.0])
        name = "upper" if start > 90 else "lower"
        slab = nib.Nifti1Image(values[:, :, start : start + 12], affine)
        parts[f"{name}/slab{chr(97 + number % 26)}{number}.nii"] = slab.to_bytes()
    return parts


def ecg_seconds() -> Parts:
    """Seconds of the limb leads and of the chest leads, as CSV with their times."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    data = dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    samples, rate = data.waveform_array(0).T, int(data.WaveformSequence[0].SamplingFrequency)
    parts: Parts = {}
    for lead, name in enumerate(("limb",) * 6 + ("chest",) * 6):
        for second in range(samples.shape[1] // rate):
            piece = samples[lead, second * rate : (second + 1) * rate : 4]
            lines = "".join(f"{4 * i / rate:.3f},{value:.4f}\n" for i, value in enumerate(piece))
            parts[f"{name}/lead{chr(97 + lead)}s{second}.csv"] = f"time,mV\n{lines}".encode()
    return parts


def lung_clips(folder: Path) -> Parts:
    """The smallest clips of healthy and of ill lungs, as their formats come."""
    parts: Parts = {}
    for label in ("regular", "abnormal"):
        found = sorted((folder / "pocus_lung_us_video_ccby" / "videos" / label).iterdir(), key=lambda p: p.stat().st_size)
        parts |= {f"{label}/{path.name}": path.read_bytes() for path in found[:18]}
    return parts


@pytest.mark.parametrize("kind", ["volume", "signal", "video"])
def test_the_whole_way(
    kind: str, dana: Any, bob: Any, charlie: Any, api_of: Any, client_of: Any, run_jobs: Any, request: pytest.FixtureRequest
) -> None:
    parts = {
        "volume": brain_slabs, "signal": ecg_seconds,
        "video": lambda: lung_clips(request.getfixturevalue("shared_data")),
    }[kind]()  # fmt: skip
    asked = sorted(parts)[-1]
    content = parts.pop(asked)
    upload = imported(dana, run_jobs, zipped(parts))
    assert (upload.rows_added, upload.rows_refused) == (len(parts), 0), upload.report
    dataset = upload.dataset
    assert dataset is not None
    column = dataset.columns.get(role="feature")
    assert (column.kind, column.name) == (kind, kind)
    labels = Counter(Record.objects.filter(dataset=dataset).values_list("target", flat=True))
    assert set(labels) == {name.split("/")[0] for name in parts}
    record = Record.objects.filter(dataset=dataset).first()
    assert record is not None
    pointer = record.files.get()
    for size in ("thumb", "page"):
        shown = client_of(bob).get(reverse("datasets:record_picture", args=[dataset.pk, record.pk, pointer.pk, size]))
        assert shown.status_code == 200, size
        assert min(Image.open(io.BytesIO(shown.content)).size) > 20
    version = trained(dana, run_jobs, dataset).versions.select_related("model").get(chosen=True)
    confirm_champion(actor=actor(dana), version=version)
    body = {"model": str(version.model_id), kind: SimpleUploadedFile(asked.split("/")[1], content)}
    answer = api_of(bob).post("/api/v1/diagnoses/", body, format="multipart")
    assert answer.status_code == 201, answer.content
    if kind != "video":  # so few clips tell little
        assert answer.json()["value"] == asked.split("/")[0]
    row = Diagnosis.objects.get()
    page = client_of(bob).get(reverse("inference:diagnosis", args=[row.pk])).content.decode()
    drawn = reverse("inference:picture", args=[row.pk, row.files.get().pk, "reasons"])
    assert f'src="{drawn}"' in page
    picture = client_of(bob).get(drawn)
    assert picture.status_code == 200
    assert len(Image.open(io.BytesIO(picture.content)).convert("RGB").getcolors(1 << 24)) > 50
    assert client_of(charlie).get(drawn).status_code == 404
    said = review(actor=actor(bob), diagnosis=row, verdict="confirmed")
    assert said.record is not None
    assert said.record.values[kind] == row.inputs[kind]
    assert said.record.files.get().file == row.files.get().file
