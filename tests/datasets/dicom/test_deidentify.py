"""De-identification: what is planted is gone, what must stay stays, and whatever goes wrong, nothing is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from datasets.dicom import standard
from datasets.dicom.codes import TEXTS
from datasets.dicom.deidentify import CODES, deidentify
from datasets.dicom.profile import Identity, Profile
from datasets.dicom.report import Action, Outcome
from tests.datasets.dicom.files import SECRET, TEST_FILES, every_file, loaded, saved, series, slice_of

BARE = Profile(SECRET, dates=False, patient=False, device=False, uids=False, private=False)
USUAL = Profile(SECRET)
MARK = "ZQPLANT"
PLANTED_DAY = "19670423"
PLANTED_ROOT = "1.2.826.0.1.3680043.8.498.777"


def planted(tag: int, vr: str, number: int) -> DataElement:
    """An element with a value that is found again in any file that holds it."""
    value: Any
    if vr == "SQ":
        inner = Dataset()
        inner.add_new(0x0040A160, "UT", f"{MARK}{number}")
        inner.add_new(0x00081155, "UI", f"{PLANTED_ROOT}.{number}")
        value = Sequence([inner])
    elif vr in ("DA", "DT", "TM"):
        value = {"DA": PLANTED_DAY, "DT": PLANTED_DAY + "123456", "TM": "123456.777"}[vr]
    elif vr == "UI":
        value = f"{PLANTED_ROOT}.{number}"
    elif vr == "AS":
        value = "077Y"
    elif vr in ("DS", "IS"):
        value = "77123"
    elif vr in ("FD", "FL"):
        value = 77123.0
    elif vr == "AT":
        value = 0x77123
    elif vr in ("US", "SS"):
        value = 30123
    elif vr in ("UL", "SL", "UV", "SV"):
        value = 77123
    elif vr in ("OB", "OW", "UN"):
        value = (MARK + f"{number:03}").encode()
    elif vr in ("OD", "OV"):
        value = (MARK + f"{number:09}").encode()
    elif vr in ("OF", "OL"):
        value = (MARK + f"{number:05}").encode()
    elif vr == "UR":
        value = f"http://{MARK}{number}.example"
    elif vr == "PN":
        value = f"{MARK}{number}^Given"
    else:
        value = f"{MARK}{number}"
    return DataElement(tag, vr, value)


def vr_of(tag: int) -> str:
    return dictionary_VR(tag).split(" or ")[0] if dictionary_has_tag(tag) else "LO"


def everything(dates: bool = True) -> Dataset:
    """A CT slice with a planted value in every element of Table E.1-1, on top and two sequences deep, private ones too."""
    data = slice_of()
    nested, inner = Dataset(), Dataset()
    for number, tag in enumerate(standard.rules()):
        if tag >> 16 <= 0x0004 or (not dates and vr_of(tag) in ("DA", "DT", "TM")):
            continue
        for home in (data, inner):
            home.add(planted(tag, vr_of(tag), number))
    block = inner.private_block(0x0029, f"{MARK} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{MARK} private")
    nested.add_new(0x00189152, "SQ", Sequence([inner]))
    data.add_new(0x52009229, "SQ", Sequence([nested]))
    block = data.private_block(0x0011, f"{MARK} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{MARK} private")
    private = Dataset()
    private.add_new(0x00100010, "PN", f"{MARK}^Nested")
    block.add_new(0x02, "SQ", Sequence([private]))
    data.add_new(0x00120063, "LO", f"{MARK} method before")
    data.add_new(0x04000500, "SQ", Sequence([private]))
    for group in (0x5000, 0x6000, 0x6002):
        data.add_new((group, 0x0022), "LO", f"{MARK} description")
        data.add_new((group, 0x3000), "OW", MARK.encode() + b"\0")
        data.add_new((group, 0x4000), "LT", f"{MARK} comment") if group >= 0x6000 else None
    data.SOPClassUID, data.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"
    del data.EncapsulatedDocument
    data.file_meta.SourceApplicationEntityTitle = MARK
    data.file_meta.PrivateInformationCreatorUID = f"{PLANTED_ROOT}.9999"
    data.file_meta.PrivateInformation = MARK.encode() + b"\0"
    data.file_meta.ImplementationVersionName = MARK
    data.preamble = (MARK.encode() * 20)[:128]
    return data


def test_nothing_planted_in_any_element_of_the_profile_is_left(tmp_path: Path) -> None:
    source = saved(everything(), tmp_path / "in.dcm")
    assert source.read_bytes().count(MARK.encode()) > 700
    report = deidentify(source, tmp_path / "out.dcm", BARE)
    assert (report.outcome, report.reasons) == (Outcome.DONE, ())
    left = (tmp_path / "out.dcm").read_bytes()
    for token in (MARK, PLANTED_ROOT, PLANTED_DAY, "Quillfeather", "Zebedee", "5577341", "88123", "077Y", "77123", "123456"):
        assert token.encode() not in left, left[max(0, left.find(token.encode()) - 60) :][:120]
        assert token.encode("utf-16-le") not in left, token
    assert np.array([77123.0], dtype="<f8").tobytes() not in left
    assert report.total(Action.REMOVED) > 300


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_the_same_in_other_encodings(tmp_path: Path, syntax: str) -> None:
    from pydicom.uid import UID

    data = everything()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax.endswith(".2.2"):
        data.PixelData = np.full((32, 32), 1000, dtype=">u2").tobytes()
    report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", BARE)
    assert report.outcome is Outcome.DONE
    written = loaded(tmp_path / "out.dcm")
    assert written.file_meta.TransferSyntaxUID == syntax
    text = written.to_json()
    assert MARK not in text and PLANTED_ROOT not in text and PLANTED_DAY not in text
    assert written.pixel_array.max() == 1000


def test_what_the_standard_asks_to_be_written_is_written(tmp_path: Path) -> None:
    profile = Profile(SECRET, dates=True, patient=True, device=True, uids=True, private=True)
    report = deidentify(saved(slice_of(), tmp_path / "in.dcm"), tmp_path / "out.dcm", profile)
    written = loaded(tmp_path / "out.dcm")
    assert written.PatientIdentityRemoved == "YES"
    assert next(iter(written.DeidentificationMethod)) == "DICOM PS3.15 2026c Annex E Basic Profile"
    said = [(i.CodeValue, i.CodingSchemeDesignator, i.CodeMeaning) for i in written.DeidentificationMethodCodeSequence]
    assert said == [(value, "DCM", meaning) for value, meaning in CODES.values()]
    assert {value for value, _scheme, _meaning in said} == {"113100", "113107", "113108", "113109", "113110", "113111"}
    assert written.LongitudinalTemporalInformationModified == "MODIFIED"
    assert written.file_meta.MediaStorageSOPInstanceUID == written.SOPInstanceUID
    assert report.options == tuple(CODES)
    deidentify(tmp_path / "in.dcm", tmp_path / "bare.dcm", BARE)
    bare = loaded(tmp_path / "bare.dcm")
    assert [item.CodeValue for item in bare.DeidentificationMethodCodeSequence] == ["113100"]
    assert bare.LongitudinalTemporalInformationModified == "REMOVED"


def test_the_options_keep_what_they_say_and_nothing_else(tmp_path: Path) -> None:
    source = saved(
        slice_of(StationName="CT03", DeviceSerialNumber="SN-4", PatientWeight="80", PatientAge="093Y", Allergies="nuts",
                 AcquisitionDate="20260315", AcquisitionTime="101612.5", ManufacturerModelName="Scanner"),
        tmp_path / "in.dcm",
    )  # fmt: skip

    def of(**options: bool) -> Dataset:
        chosen = {"dates": False, "patient": False, "device": False, "uids": False, "private": False, **options}
        assert deidentify(source, tmp_path / "out.dcm", Profile(SECRET, **chosen)).outcome is Outcome.DONE
        return loaded(tmp_path / "out.dcm")

    bare = of()
    assert "PatientAge" not in bare and "PatientWeight" not in bare and not bare.PatientSex
    assert (bare.StationName, bare.DeviceSerialNumber) == ("REMOVED", "REMOVED")
    assert not bare.StudyDate and bare.SOPInstanceUID.startswith("2.25.")
    patient = of(patient=True)
    assert (patient.PatientSex, patient.PatientWeight, patient.PatientAge) == ("M", 80, "090Y")
    assert "Allergies" not in patient and patient.StationName == "REMOVED" and not patient.PatientBirthDate
    device = of(device=True)
    assert (device.StationName, device.DeviceSerialNumber) == ("CT03", "SN-4") and "PatientAge" not in device
    assert of(uids=True).SOPInstanceUID == loaded(source).SOPInstanceUID
    dates = of(dates=True)
    shift = USUAL.shift(Identity(patient_id="MRN-5577341"))
    assert dates.StudyDate == f"{__import__('datetime').date(2026, 3, 14) + shift:%Y%m%d}"
    assert dates.AcquisitionDate == f"{__import__('datetime').date(2026, 3, 15) + shift:%Y%m%d}"
    assert dates.AcquisitionTime == "101612.5" and not dates.PatientBirthDate


def test_only_safe_private_elements_stay_and_not_with_the_patients_name(tmp_path: Path) -> None:
    data = slice_of()
    safe = data.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    safe.add_new(0x0C, "IS", "1000")
    safe.add_new(0x0D, "LO", "wrong representation")
    safe.add_new(0x0F, "LO", "not in the list")
    philips = data.private_block(0x2001, "Philips Imaging DD 001", create=True)
    philips.add_new(0x6E, "SH", "Quillfeather")
    philips.add_new(0x7D, "OB", b"pixels that nobody sees!")
    other = data.private_block(0x0019, "Some Vendor", create=True)
    other.add_new(0x0C, "IS", "1000")
    source = saved(data, tmp_path / "in.dcm")
    assert deidentify(source, tmp_path / "out.dcm", USUAL).outcome is Outcome.DONE
    written = loaded(tmp_path / "out.dcm")
    left = [e for e in written if e.tag.is_private and not e.tag.is_private_creator]
    private = [(e.private_creator, e.tag.element & 0xFF) for e in left]
    assert private == [("SIEMENS MR HEADER", 0x0C)]
    creators = [e.value for e in loaded(tmp_path / "out.dcm") if e.tag.is_private_creator]
    assert creators == ["SIEMENS MR HEADER"]
    deidentify(source, tmp_path / "out.dcm", BARE)
    assert not [e for e in loaded(tmp_path / "out.dcm") if e.tag.is_private]


def test_the_patients_own_words_are_found_where_no_rule_expects_them(tmp_path: Path) -> None:
    data = slice_of(PatientName="欧阳建国^^=Ouyang^Jianguo", SpecificCharacterSet="ISO_IR 192")
    data.ConvolutionKernel = "for OUYANG B30f"
    data.Manufacturer = "建国医疗 欧阳建国"
    data.BodyPartExamined = "JIANGUO"
    data.SoftwareVersions = ["syngo", "MRN-5577341 patch"]
    data.ProtocolName = "Ouyang"  # in the table: removed anyway
    report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", USUAL)
    assert report.outcome is Outcome.DONE
    left = (tmp_path / "out.dcm").read_bytes().lower()
    for word in ("ouyang", "jianguo", "欧阳建国", "mrn-5577341"):
        assert word.encode() not in left
    assert report.total(Action.CLEANED) == 4


def test_an_element_that_is_not_what_the_dictionary_says_goes(tmp_path: Path) -> None:
    data = slice_of()
    del data.SliceThickness
    data.add_new(0x00180050, "LT", f"{MARK} in the thickness")
    data.add_new(0x00187777, "LO", f"{MARK} unknown element")
    data.add_new(0x00142006, "PN", f"{MARK}^Evaluator")
    data.add_new(0x00143076, "DA", PLANTED_DAY)
    data.add_new(0x0018991E, "UI", f"{PLANTED_ROOT}.55")
    assert deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", BARE).outcome is Outcome.DONE
    left = (tmp_path / "out.dcm").read_bytes()
    assert MARK.encode() not in left and PLANTED_DAY.encode() not in left and f"{PLANTED_ROOT}.55".encode() not in left


def test_the_report_tells_tags_and_actions_and_never_values(tmp_path: Path) -> None:
    report = deidentify(saved(everything(), tmp_path / "in.dcm"), tmp_path / "out.dcm", USUAL)
    text = json.dumps(report.as_dict()) + repr(report) + repr(report.identity) + repr(USUAL)
    for token in (MARK, PLANTED_ROOT, PLANTED_DAY, "Quillfeather", "MRN", "secret"):
        assert token not in text
    elements = {(e["tag"], e["action"]) for e in report.as_dict()["elements"]}
    assert ("(0010,0010)", "pseudonym") in elements and ("(0010,1040)", "removed") in elements
    assert ("(5200,9229) > (0018,9152) > (0010,1040)", "removed") in elements
    assert ("(0008,0020)", "shifted") in elements and ("(0008,0018)", "new_uid") in elements
    assert (report.identity is not None and report.identity.name == f"{MARK}0^Given") or report.identity.name.startswith(MARK)


def test_every_file_of_pydicoms_tests_ends_in_one_outcome(tmp_path: Path) -> None:
    outcomes = []
    for path in every_file():
        out = tmp_path / "out.dcm"
        out.unlink(missing_ok=True)
        report = deidentify(path, out, USUAL)
        assert out.exists() == (report.outcome is Outcome.DONE), path
        assert (report.outcome is Outcome.DONE) == (report.reasons == ()), path
        assert "failed" not in report.reasons and set(report.reasons) <= set(TEXTS), path
        outcomes.append(report.outcome)
    assert outcomes.count(Outcome.DONE) >= 100 and outcomes.count(Outcome.QUARANTINED) >= 30
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize("cut", [10, 140, 400, 1500, 2000])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    whole = saved(slice_of(), tmp_path / "in.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:cut])
    report = deidentify(tmp_path / "cut.dcm", tmp_path / "out.dcm", USUAL)
    known = ("truncated", "not_dicom", "header_unreadable", "no_patient")
    assert report.outcome is Outcome.REFUSED and report.reasons[0] in known
    assert not (tmp_path / "out.dcm").exists()


def test_it_fails_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(slice_of(ConvolutionKernel="Quillfeather"), tmp_path / "in.dcm")

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("Quillfeather^Zebedee")

    with monkeypatch.context() as patch:
        patch.setattr("datasets.dicom.cleaning.Cleaner._unlisted", broken)
        report = deidentify(source, tmp_path / "out.dcm", USUAL)
        assert report.reasons == ("failed",) and "Quillfeather" not in repr(report.as_dict())
    with monkeypatch.context() as patch:  # a rule that forgot: the last look finds the name
        patch.setattr("datasets.dicom.cleaning.Cleaner._unlisted", lambda *_a: None)
        assert deidentify(source, tmp_path / "out.dcm", USUAL).reasons == ("identifier_left",)
    assert not (tmp_path / "out.dcm").exists() and not list(tmp_path.glob(".part-*"))
    nobody = slice_of(PatientID="", PatientName="", StudyInstanceUID="")
    assert deidentify(saved(nobody, tmp_path / "n.dcm"), tmp_path / "out.dcm", USUAL).reasons == ("no_patient",)


def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Profile(b"short")


def test_a_series_stays_a_series(tmp_path: Path) -> None:
    from datasets.dicom.grouping import group, volume
    from datasets.dicom.reading import describe

    paths = list(series(tmp_path / "in", 5))
    out = tmp_path / "out"
    out.mkdir()
    for path in paths:
        assert deidentify(path, out / path.name, USUAL).outcome is Outcome.DONE
    studies, _ = group(describe(p) for p in sorted(out.iterdir()))
    before, _ = group(describe(p) for p in paths)
    assert len(studies) == len(studies[0].series) == len(studies[0].series[0].stacks) == 1
    np.testing.assert_array_equal(volume(studies[0].series[0].stacks[0]).values, volume(before[0].series[0].stacks[0]).values)


def test_pydicoms_logger_says_nothing_of_patients(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pydicom.uid import ImplicitVRLittleEndian

    data = slice_of()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = saved(data, tmp_path / "in.dcm")
    raw = path.read_bytes().replace(b"19670423", b"1967ZQPL")
    path.write_bytes(raw)
    deidentify(path, tmp_path / "out.dcm", USUAL)
    shown = capfd.readouterr()
    assert "ZQPL" not in shown.out + shown.err
    assert not __import__("logging").getLogger("pydicom").propagate
    assert TEST_FILES.exists()
