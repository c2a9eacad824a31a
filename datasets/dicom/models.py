"""The key from pseudonym to patient. What names a patient is encrypted; only `vault` opens it."""

from django.db import models

from accounts.models import Organisation
from accounts.scoping import OrganisationQuerySet


class PatientSecret(models.Model):
    """An organisation's secret, from which its pseudonyms, UIDs and shifts of dates are derived. Encrypted; never changes:
    with another one the same patient would become another one."""

    organisation = models.OneToOneField(Organisation, on_delete=models.CASCADE, related_name="+")
    sealed = models.TextField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"secret of organisation {self.organisation_id}"


class PatientKey(models.Model):
    """Who a pseudonym stands for, encrypted. Stays with the organisation; reading it needs its own permission."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    pseudonym = models.CharField(max_length=20)
    sealed = models.TextField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = OrganisationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "pseudonym"], name="pseudonym_once_per_organisation"
            )
        ]

    def __str__(self) -> str:
        return self.pseudonym
