"""Why a DICOM file can't be used, or waits for a person: a code for programs, a sentence for people."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

UNREADABLE: dict[str, Promise] = {
    "not_dicom": _(
        "This is not a DICOM file. Send the files as the archive (PACS) exports them, or a zip of them."
    ),
    "truncated": _("The DICOM file ends too early: its transfer was cut off. Export it again."),
    "header_unreadable": _("The header of this DICOM file is damaged. Export it again from the archive."),
    "dicomdir": _(
        "This is the table of contents of a DICOM medium, not an image. Its images are read by themselves."
    ),
    "no_pixels": _("This DICOM object holds no image (a report, a plan or a recording)."),
    "syntax_unsupported": _(
        "The image is compressed in a way that is not read here. Export it uncompressed or as JPEG 2000."
    ),
    "pixels_unreadable": _(
        "The image in this DICOM file is damaged or does not fit its header. Export it again."
    ),
    "too_large": _("The DICOM file is larger than can be read at once. Export it in parts."),
    "no_uid": _("The DICOM file lacks the number (UID) of its image, series or study. Export it again."),
}

QUARANTINE: dict[str, Promise] = {
    "burned_in_declared": _(
        "The header says that the picture shows identifying text (Burned In Annotation)."
    ),
    "burned_in_likely": _(
        "Pictures of this kind (ultrasound, screen shots, scanned documents) usually show text. Look at it before it is used."
    ),
    "text_seen": _("The picture seems to show text. Look at it before it is used."),
    "pixels_unread": _(
        "The picture could not be looked at for text, because it can't be decoded. Look at it before it is used."
    ),
    "overlay_in_pixels": _(
        "Graphics are stored inside the compressed picture and can't be taken out. Look at it before it is used."
    ),
    "document": _("The file holds a whole document (PDF, scan), which can name the patient anywhere."),
}

REFUSED: dict[str, Promise] = {
    "identifier_left": _(
        "An identifying value was still found after de-identification, so nothing was stored."
    ),
    "failed": _(
        "De-identification did not succeed, so nothing was stored. Export the file again, or tell the support."
    ),
    "no_patient": _("The file names neither a patient nor a study, so no pseudonym can be given."),
}

TEXTS: dict[str, Promise] = {**UNREADABLE, **QUARANTINE, **REFUSED}


class Unreadable(ValueError):
    """A DICOM file, or its picture, that can't be read. `code` is a key of UNREADABLE; the text never quotes a value."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail

    @property
    def text(self) -> Promise:
        """What was wrong and what to do, for a person."""
        return UNREADABLE[self.code]
