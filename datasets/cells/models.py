"""Files that cells may point to, and which record's cell points to which."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.scoping import OrganisationQuerySet


class CellFile(models.Model):
    """A stored file that was looked at and found to be a picture, a volume, a video or a signal."""

    organisation_path = "file__organisation"
    file = models.OneToOneField("datasets.StoredFile", on_delete=models.CASCADE, related_name="cell")
    name = models.CharField(max_length=255, help_text=_("as its sender called it; only shown"))
    kind = models.CharField(max_length=10, help_text=_("image, volume, video or signal, by its content"))
    form = models.CharField(max_length=20, help_text=_("the format, by its content"))
    pseudonym = models.CharField(
        max_length=64, blank=True, db_index=True, help_text=_("whom a de-identified file is about: see PatientKey")
    )
    notes = models.JSONField(
        default=list, blank=True, help_text=_("what was made of several files, as codes with numbers: see cells.notes")
    )
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    objects = OrganisationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.kind} {self.file_id}"


class RecordFile(models.Model):
    """The file of one cell of a record. While there is one, the file is kept."""

    organisation_path = "record__dataset__organisation"
    record = models.ForeignKey("datasets.Record", on_delete=models.CASCADE, related_name="files", db_index=False)
    column = models.CharField(max_length=200)
    file = models.ForeignKey("datasets.StoredFile", on_delete=models.PROTECT, related_name="record_files")
    name = models.CharField(max_length=255, help_text=_("as its sender called it; only shown"))
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["record", "column"], name="record_file_once")]

    def __str__(self) -> str:
        return f"#{self.record_id} {self.column}"
