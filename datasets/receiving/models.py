"""Under which AE titles an organisation receives, from whom; and the index of what DICOMweb answers with. See datasets.models."""

import ipaddress

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet

# PS3.5 6.2: 16 characters of the default repertoire without backslash and control characters; spaces at the ends don't count.
AE_TITLE = RegexValidator(
    r"^(?! )[\x20-\x5B\x5D-\x7E]{1,16}(?<! )\Z",
    _("An AE title has 1 to 16 letters, digits, signs or inner spaces; no backslash, no accents."),
)


def network(text: str) -> str:
    """An address, or a network of them as 10.1.0.0/16, in its usual form. Raises ValidationError."""
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValidationError(gettext("Give an IP address, or a network of them such as 10.1.0.0/16.")) from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)


class Receiver(models.Model):
    """An AE title under which an organisation receives DICOM. Peers say no more when they call, so it is one organisation's."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="receivers")
    title = models.CharField(_("AE title"), max_length=16, unique=True, validators=[AE_TITLE])
    dataset = models.ForeignKey(
        "datasets.Dataset", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title


class FormerTitle(models.Model):
    """The AE title of a receiver that was removed. Its peers may still be set up with it, so no other organisation gets it."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    title = models.CharField(_("AE title"), max_length=16, unique=True)
    removed_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.title


class Peer(models.Model):
    """Who may send to a receiver: an AE title and the address or network that it calls from. Nobody else may."""

    organisation_path = "receiver__organisation"
    receiver = models.ForeignKey(Receiver, on_delete=models.CASCADE, related_name="peers")
    title = models.CharField(_("AE title"), max_length=16, validators=[AE_TITLE])
    address = models.CharField(_("address"), max_length=50)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["title", "address"]
        constraints = [models.UniqueConstraint(fields=["receiver", "title", "address"], name="peer_once")]

    def __str__(self) -> str:
        return f"{self.title} ({self.address})"


class DicomInstance(models.Model):
    """What a de-identified, stored instance is found by: the replaced UIDs and the few values that people search for.

    It describes its file and does not keep it: see `datasets.storage.pointers`. Of two files of one instance the newer counts
    (see `datasets.receiving.index.instances_of`), while it is there.
    """

    describes_only = True
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
    file = models.OneToOneField("datasets.StoredFile", on_delete=models.CASCADE, related_name="dicom")
    study = models.CharField(max_length=64)
    series = models.CharField(max_length=64)
    instance = models.CharField(max_length=64)
    sop_class = models.CharField(max_length=64)
    transfer_syntax = models.CharField(max_length=64)
    patient_id = models.CharField(max_length=64, help_text="the pseudonym")
    modality = models.CharField(max_length=16)
    study_date = models.CharField(max_length=8, blank=True, help_text="moved with the patient's other dates")
    series_number = models.BigIntegerField(null=True)
    number = models.BigIntegerField(null=True)
    attributes = models.JSONField(default=dict, help_text="what else QIDO answers with, in the DICOM JSON model")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        ordering = ["study", "series", "number", "pk"]
        indexes = [
            models.Index(fields=["organisation", "study", "series", "instance"], name="dicom_by_study"),
            models.Index(fields=["organisation", "series"], name="dicom_by_series"),
            models.Index(fields=["organisation", "instance"], name="dicom_by_instance"),
            models.Index(fields=["organisation", "created_at"], name="dicom_by_coming"),
            models.Index(fields=["organisation", "patient_id"], name="dicom_by_patient"),
            models.Index(fields=["organisation", "study_date", "study"], name="dicom_by_date"),
        ]

    def __str__(self) -> str:
        return self.instance
