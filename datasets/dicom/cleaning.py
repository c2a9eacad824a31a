"""The Basic Profile applied to a data set, element by element, sequences too. What no rule covers is taken out, not kept."""

from __future__ import annotations

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from datasets.dicom import actions
from datasets.dicom.identifiers import Identifiers
from datasets.dicom.profile import Identity, Profile
from datasets.dicom.report import Action, Path, Report
from datasets.dicom.standard import Rule, rules, safe_private

PATIENT_NAME, PATIENT_ID, PATIENT_AGE = 0x00100010, 0x00100020, 0x00101010
CONTENT_SEQUENCE = 0x0040A730
# Not in the table, and dropped: what another de-identifier encrypted, group 2 (written anew), groups of commands and media.
DROPPED = frozenset({0x04000500})
DROPPED_GROUPS = frozenset({0x0000, 0x0002, 0x0004, 0x0006})
# UIDs that name a vocabulary, a software or an encoding, never an object; others that no rule lists are replaced.
NAMES_NO_OBJECT = frozenset(
    {
        0x0008010C,
        0x0008010D,
        0x00080117,
        0x00080118,
        0x00089123,
        0x0008040E,
        0x00083002,
        0x04000010,
        0x04000510,
    }
)
EITHER = " or "


class Cleaner:
    """One file's cleaning: `clean(data)` changes a data set in place and writes down in `report` what it did."""

    def __init__(self, profile: Profile, identity: Identity, report: Report, known: Identifiers) -> None:
        self.profile = profile
        self.pseudonym = profile.pseudonym(identity)
        self.shift = profile.shift(identity)
        self.report = report
        self.known = known

    def clean(self, data: Dataset, above: Path = (), *, strict: bool = False) -> None:
        """With `strict` (inside of a sequence that the profile replaces) nothing keeps its value but its structure."""
        self._private(data, above)
        for element in list(data):
            path = (*above, int(element.tag))
            if element.tag.is_private:
                continue
            if self._dropped(element):
                self._remove(data, element, path)
            elif strict:
                self._dummy(data, element, path)
            else:
                self._by_rule(data, element, path)

    def _dropped(self, element: DataElement) -> bool:
        """Groups that go whole, lengths of groups, and elements that are not what the dictionary says they are."""
        tag = element.tag
        if (
            tag.element == 0
            or tag.group in DROPPED_GROUPS
            or tag in DROPPED
            or tag.group >> 8 in (0x50, 0x60)
        ):
            return True
        if not dictionary_has_tag(tag):
            return int(tag) not in rules()
        return element.VR not in dictionary_VR(tag).split(EITHER)

    def _by_rule(self, data: Dataset, element: DataElement, path: Path) -> None:
        rule = rules().get(int(element.tag))
        if rule is None:
            self._unlisted(data, element, path)
        elif self._option_keeps(rule):
            self._keep(data, element, path)
        elif self.profile.dates and rule.dates and actions.move(element, self.shift):
            if not actions.empty(element):
                self.report.add(path, Action.SHIFTED)
        else:
            self._basic(data, element, path, rule.basic)

    def _option_keeps(self, rule: Rule) -> bool:
        """ "C" (keep when cleaned) of these options is not taken up: free text is not cleaned, it goes."""
        chosen = self.profile
        return (
            (chosen.uids and rule.uids == "K")
            or (chosen.device and rule.device == "K" and not rule.dates)
            or (chosen.patient and rule.patient == "K")
        )

    def _keep(self, data: Dataset, element: DataElement, path: Path) -> None:
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item, path)
        elif element.tag == PATIENT_AGE:
            before = element.value
            if not actions.keep_age(element):
                return self._remove(data, element, path)
            if element.value != before:
                return self.report.add(path, Action.GENERALISED)
        elif self.known.found_in(element):
            return self._remove(data, element, path)
        return self.report.add(path, Action.KEPT)

    def _basic(self, data: Dataset, element: DataElement, path: Path, action: str) -> None:
        """X/Z is done as Z, X/D and the like as D: what satisfies an object of the strictest type satisfies all."""
        if element.tag in (PATIENT_NAME, PATIENT_ID) and len(path) == 1:
            element.value = self.pseudonym
            self.report.add(path, Action.PSEUDONYM)
        elif action == "X":
            self._remove(data, element, path)
        elif action in ("Z", "X/Z"):
            self._empty(element, path)
        elif action == "U":
            self._new_uid(element, path)
        elif action == "X/Z/U*":
            for item in element.value:
                self.clean(item, path)
        else:
            self._dummy(data, element, path)

    def _unlisted(self, data: Dataset, element: DataElement, path: Path) -> None:
        """What the table does not name is kept, but not where its representation says that it names somebody or a day."""
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item, path)
        elif element.VR in ("DA", "DT", "TM"):
            if not actions.empty(element):
                if self.profile.dates and actions.move(element, self.shift):
                    self.report.add(path, Action.SHIFTED)
                else:
                    self._empty(element, path)
        elif element.VR in ("PN", "AE", "UN"):
            self._empty(element, path)
        elif element.VR in ("LT", "ST", "UC", "UT"):
            self._dummy(data, element, path)  # long free text that the table overlooks
        elif element.VR == "UI" and element.tag not in NAMES_NO_OBJECT and not self.profile.uids:
            self._new_uid(element, path)
        elif not structural(element) and self.known.found_in(element):
            element.value = actions.REMOVED if element.VR in actions.TEXTS else actions.dummy(element.VR)
            self.report.add(path, Action.CLEANED)

    def _remove(self, data: Dataset, element: DataElement, path: Path) -> None:
        del data[element.tag]
        self.report.add(path, Action.REMOVED)

    def _empty(self, element: DataElement, path: Path) -> None:
        if not actions.empty(element):
            element.value = Sequence() if element.VR == "SQ" else None
            self.report.add(path, Action.EMPTIED)

    def _new_uid(self, element: DataElement, path: Path) -> None:
        if actions.new_uids(element, self.profile):
            self.report.add(path, Action.NEW_UID)

    def _dummy(self, data: Dataset, element: DataElement, path: Path) -> None:
        """A value that says nothing; of a sequence one item whose values say nothing."""
        if actions.empty(element):
            return
        if element.VR == "UI":
            self._new_uid(element, path)
        elif element.VR == "SQ":
            del element.value[1:]
            item = element.value[0]
            if element.tag == CONTENT_SEQUENCE:
                element.value = Sequence([_no_content()])
            else:
                self.clean(item, path, strict=True)
            self.report.add(path, Action.REPLACED)
        elif element.VR == "CS" and len(path) > 1 and structural(element):
            pass
        else:
            actions.put(
                element, [actions.dummy(element.VR)] * max(1, element.VM)
            )  # as many as there were: IODs count
            self.report.add(path, Action.REPLACED)

    def _private(self, data: Dataset, above: Path) -> None:
        """Private elements go, except those of the standard's safe list; of these, binary ones go too, for nobody can look
        into them, and so does one whose representation is not the listed one."""
        private = [element for element in list(data) if element.tag.is_private]
        kept_blocks = set()
        for element in private:
            if element.tag.is_private_creator:
                continue
            path = (*above, int(element.tag))
            if self.profile.private and self._safe(element):
                kept_blocks.add((element.tag.group, element.tag.element >> 8))
                self._keep_private(element, path)
            else:
                self._remove(data, element, path)
        for element in private:
            if element.tag.is_private_creator and (element.tag.group, element.tag.element) not in kept_blocks:
                self._remove(data, element, (*above, int(element.tag)))

    def _safe(self, element: DataElement) -> bool:
        creator = element.private_creator
        if not creator or element.VR in actions.BYTES:
            return False
        listed = safe_private().get((str(creator).strip(), element.tag.group, element.tag.element & 0xFF))
        if listed is None or (listed and element.VR not in listed.split("/")):
            return False
        return element.VR not in ("PN", "DA", "DT", "TM", "AE") and not self.known.found_in(element)

    def _keep_private(self, element: DataElement, path: Path) -> None:
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item, path)
        elif element.VR == "UI" and not self.profile.uids:
            self._new_uid(element, path)
        self.report.add(path, Action.KEPT)


def structural(element: DataElement) -> bool:
    """Whether its tag is that of a code for the kind of an item (type of a value, units of an annotation)."""
    return int(element.tag) in _STRUCTURE


# Relationship Type, Value Type, Continuity, Completion and Verification, annotation units, graphic type and fill, justification.
_STRUCTURE = frozenset(
    {0x0040A010, 0x0040A040, 0x0040A050, 0x0040A491, 0x0040A493, 0x00700003, 0x00700004, 0x00700005, 0x00700012, 0x00700023,
     0x00700024, 0x00700015}
)  # fmt: skip


def _no_content() -> Dataset:
    """A text item that says that the content of a report was taken out."""
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = Sequence([name])
    item.TextValue = actions.REMOVED
    return item
