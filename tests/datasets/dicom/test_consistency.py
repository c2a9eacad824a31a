"""Properties of what is derived from the secret: the same in, the same out; different in, different out; days between stay."""

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement

from datasets.dicom.actions import move, new_uids
from datasets.dicom.profile import SHIFT_DAYS, Identity, Profile, shifted
from tests.datasets.dicom.files import SECRET

ONE, OTHER = Profile(SECRET), Profile(SECRET[::-1])
UIDS = st.lists(st.integers(0, 10**9), min_size=3, max_size=6).map(lambda parts: "1." + ".".join(map(str, parts)))
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x1f"), min_size=1, max_size=40)
DAYS = st.dates(date(1930, 1, 1), date(2090, 1, 1))


@given(UIDS, UIDS)
def test_uids_are_replaced_consistently_and_are_valid(one: str, two: str) -> None:
    fresh = Profile(SECRET).uid(one)
    assert fresh == ONE.uid(one) and fresh != OTHER.uid(one)
    assert (ONE.uid(one) == ONE.uid(two)) == (one == two)
    assert len(fresh) <= 64 and fresh.startswith("2.25.") and not fresh[5:].startswith("0") and fresh[5:].isdigit()
    element = DataElement(0x00081155, "UI", [one, two, "1.2.840.10008.1.2"])
    assert new_uids(element, ONE)
    assert list(element.value) == [ONE.uid(one), ONE.uid(two), "1.2.840.10008.1.2"]


@given(NAMES, NAMES, st.lists(DAYS, min_size=2, max_size=6))
def test_a_patients_days_move_together(patient: str, other: str, days: list[date]) -> None:
    who = Identity(patient_id=patient)
    shift = ONE.shift(who)
    assert shift == Profile(SECRET).shift(Identity(patient_id=patient, name="another spelling"))
    assert timedelta(days=-SHIFT_DAYS) <= shift <= timedelta(days=-1)
    moved = [shifted(f"{day:%Y%m%d}", shift) for day in days]
    between = [date.fromisoformat(b or "") - date.fromisoformat(a or "") for a, b in pairwise(moved)]
    assert between == [b - a for a, b in pairwise(days)]
    assert (ONE.pseudonym(who) == ONE.pseudonym(Identity(patient_id=other))) == (patient == other)
    assert (ONE.pseudonym(who) != OTHER.pseudonym(who) and patient not in ONE.pseudonym(who)) or len(patient) < 3


@given(DAYS, st.times())
def test_a_date_time_moves_by_whole_days(day: date, time: object) -> None:
    shift = ONE.shift(Identity(patient_id="p"))
    element = DataElement(0x0008002A, "DT", f"{day:%Y%m%d}{time:%H%M%S.%f}+0100")
    assert move(element, shift)
    assert str(element.value) == f"{day + shift:%Y%m%d}{time:%H%M%S.%f}+0100"


@given(st.text(max_size=20))
def test_what_is_no_date_is_not_moved_and_does_not_raise(text: str) -> None:
    moved = shifted(text, timedelta(days=-5))
    assert moved is None or (len(moved) == 8 and moved.isdigit())


@given(NAMES, NAMES, NAMES)
def test_what_makes_two_files_one_patients(number: str, name: str, study: str) -> None:
    assert Identity(patient_id=number, name=name).key == Identity(patient_id=number, study=study).key
    assert Identity(patient_id=number).key != Identity(patient_id=number, issuer="another hospital").key
    assert Identity(name=name).key != Identity(study=name).key and Identity().key == ""
    assert name not in repr(Identity(name=name)) or len(name) < 10
