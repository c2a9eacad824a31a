"""What DICOMweb makes of odd addresses and searches, without a server."""

import pytest
from django.http import Http404

from accounts.rest.problems import Problem
from datasets.dicom.codes import TEXTS
from datasets.receiving.web import qido, wado


def test_a_pattern_of_dicom_is_no_pattern_of_ours() -> None:
    assert qido.like("patient_id", "A.B+") == qido.Q(patient_id="A.B+")
    assert qido.like("patient_id", "A.**?") == qido.Q(patient_id__regex=r"^A\..*.$")
    with pytest.raises(Problem) as refused:
        qido.like("patient_id", "a*b*c*d*")
    assert refused.value.status_code == 400


def test_attributes_by_name_and_by_tag() -> None:
    assert (qido.tag_of("PatientID"), qido.tag_of("0010002a"), qido.tag_of("NoSuch")) == ("00100020", "0010002A", None)
    assert qido.element("Modality", "CT") == {"00080060": {"vr": "CS", "Value": ["CT"]}}


def test_frame_numbers() -> None:
    assert wado._numbers("3,1,3") == [3, 1]  # each once: one answer holds them all
    for text in ("", "1,", "a", "1.5", "²", "12345678", ",".join(["1"] * 101)):
        with pytest.raises(Problem):
            wado._numbers(text)
    with pytest.raises(Http404):
        wado._numbers("0")


def test_two_numbers_of_a_parameter() -> None:
    assert wado._pair({"window": "40,400,linear"}, "window") == (40.0, 400.0)
    assert wado._pair({}, "window") is None
    for text in ("40", "40,0", "nan,1", "1,inf", "a,b"):
        with pytest.raises(Problem):
            wado._pair({"window": text}, "window")


def test_why_a_picture_cannot_be_drawn_is_said_of_dicom_and_of_the_desk() -> None:
    assert wado.undrawn("truncated").detail == str(TEXTS["truncated"])
    ended = wado.undrawn("reader_ended")
    assert ended.status_code == 422 and "truncated" not in str(ended.detail)
