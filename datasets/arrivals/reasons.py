"""Why a file is refused: one sentence on what is wrong and one on what to do, by code, in the reader's language.

Facts that a sentence names come from us (a format, a number, a limit), never from the file's text: what is shown here is stored.
"""

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from datasets.dicom.codes import TEXTS

REASONS: dict[str, Promise] = {
    **TEXTS,  # of DICOM, which is de-identified before it is kept; what has its own words below keeps them
    # -- what it is --
    "empty": _("The file is empty. Export it again."),
    "unknown": _(
        "What this file is cannot be told from its content. Send a table, picture, DICOM, NIfTI, "
        "video, signal, PDF, DOCX or text."
    ),
    "program": _("This is a program or script, not data. It is not taken."),
    "archive_format": _("Archives of the kind %(format)s are not unpacked. Pack the files as ZIP without a password."),
    "old_office": _("This is an old Office file or one with a password. Save it as .xlsx or .docx without a password."),
    "markup": _("This is a page or document as source text (%(format)s). Save it as plain text, PDF or DOCX."),
    "not_a_file": _("This is not a plain file. Send the file itself."),
    "dicom_kind": _("This DICOM file (%(name)s) holds no picture, clip or recording that could be used."),
    "nifti_pair": _("This is half of a NIfTI pair (.hdr and .img). Convert it to a single .nii or .nii.gz file."),
    # -- what is wrong with it --
    "truncated": _("The file ends before its content does: it was cut off. Export or send it again."),
    "damaged": _("The file is damaged: it says that it is %(format)s, but cannot be read as that. Export it again."),
    "wrong_size": _("The file claims a size that its content does not have. Export it again."),
    "trailing_data": _("There is other data after the end of the %(format)s content. Save it anew with a viewer and send that."),
    "polyglot": _("The file is two things at once (%(first)s and %(second)s), which real exports never are. It is not taken."),
    "too_many_pixels": _("The picture claims %(pixels)s pixels; at most %(limit)s are opened. Make it smaller or cut it."),
    "too_large": _("The file is too large for its kind (at most %(limit)s). Split it or make it smaller."),
    "too_large_unpacked": _("The file grows too large when it is unpacked. Send its content in smaller parts."),
    "encrypted": _("The file is protected by a password. Remove the protection and send it again."),
    "no_text": _("There is no text in this document: it is probably a scan. Send it as pictures, or with recognised text."),
    "no_moving_picture": _("There is no moving picture in this video file."),
    "codec": _("The content is compressed in a way that cannot be decoded here (%(name)s). Export it with another compression."),
    "incomplete": _("The header names %(count)s file(s) of samples that did not come with it. Send header and samples together."),
    "unreadable_table": _("This table cannot be read: %(detail)s"),
    "reader_ended": _("Reading this file made the reader fail, twice. It is damaged or made to do harm. Export it again."),
    "took_too_long": _("Reading this file took longer than %(seconds)s seconds and was stopped. Split it or export it again."),
    "took_too_much": _("Reading this file needed more memory than is allowed. Split it or make it smaller."),
    "metadata": _(
        "What is written beside the picture (who made it, when and where) could not be taken out of this file. "
        "Save it as PNG and send that."
    ),
    "metadata_header": _(
        "What the header says of the patient could not be taken out of this file. Export it again without the patient's data."
    ),
    "metadata_video": _(
        "What is beside the pictures (sound, names, dates) could not be taken out of this clip. "
        "Save it as MP4 without sound and send that."
    ),
    "not_drawn": _("No picture could be made of this file."),
    # -- members of archives --
    "unsafe_name": _("The archive gives this file a name that points outside of it. Pack the files again by their folder."),
    "name_too_long": _("The file's name is too long. Shorten it."),
    "link": _("This is a link, not a file. Pack the file that it points to."),
    "duplicate_name": _("The archive holds another file of the same name. Rename one of them and send it again."),
    "nested": _("An archive in an archive in an archive is not unpacked. Send the inner archive itself."),
    "compression": _("This member is compressed in an unusual way. Pack the files as ZIP with the usual compression."),
    "overlap": _("Members of this archive share the same bytes, as only archives made to do harm do. Pack the files again."),
    "bomb": _("This member unpacks to far more than real files do and was stopped. Send the file itself, not packed."),
    "total": _("The archive unpacks to more than %(limit)s in all; this was beyond it. Send the rest in another archive."),
    "too_many_files": _("The archive holds more than %(limit)s files. Split it into several."),
    "directory_too_large": _("The list of the archive's files is larger than any real archive's. Pack the files again."),
    "system_file": _("A file that the computer keeps for itself (such as .DS_Store or Thumbs.db), not data."),
    "checksum": _("The content does not have the checksum that the archive states. Pack and send it again."),
    # -- here --
    "to_confirm": _("This text waits until a person has seen what is masked in it and confirms."),
    "interrupted": _("Sorting out this file was stopped before it was its turn. Try it again."),
    "disk_full": _("There was no room left on the server's disk. Make room, then try this file again."),
    "quota": _(
        "Your organisation may keep %(quota)s; %(used)s are used or on their way, and this needs %(more)s. "
        "Discard uploads that you no longer need, or ask whoever runs the portal for more room."
    ),
    "not_deidentified": _("What identifies the patient could not be removed from this file, so it is not stored for training."),
    "storage": _("The server could not store this file. Try it again; if it happens again, tell the administrator."),
}  # fmt: skip


def text(code: str, facts: Mapping[str, Any] | None = None) -> str:
    """The reason as a sentence. An unknown code (of a newer version) is said as such; missing facts become "?"."""
    sentence = REASONS.get(code)
    if sentence is None:
        return gettext("The file was not taken (%(code)s).") % {"code": code}
    return str(sentence) % _Facts(facts or {})


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
