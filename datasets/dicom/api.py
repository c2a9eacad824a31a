"""REST: who stands behind a pseudonym."""

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.problems import Problem
from datasets.dicom.services import look_up
from datasets.dicom.vault import VaultClosed


class PatientSerializer(serializers.Serializer[Any]):
    """A patient as the files named them; what they did not say is empty."""

    patient_id = serializers.CharField()
    issuer = serializers.CharField(help_text="who gave the number")
    name = serializers.CharField(help_text="as DICOM writes it: family^given")
    birth_date = serializers.CharField(help_text="YYYYMMDD")
    sex = serializers.CharField()
    study = serializers.CharField(help_text="UID of the study, where the files name no patient")


class PatientDetail(APIView):
    """Who stands behind a pseudonym. Each asking is in the audit log."""

    permissions = {"read": Permission.REIDENTIFY}
    http_method_names = ["get", "head", "options"]

    @extend_schema(responses=PatientSerializer)
    def get(self, request: Request, pseudonym: str) -> Response:
        try:
            found = look_up(actor=actor_of(request), pseudonym=pseudonym)
        except VaultClosed as error:
            raise Problem(503, "patient-keys-closed", str(error)) from error
        if found is None:
            raise Problem(404, "not-found", _("No patient of this organisation has this pseudonym."))
        return Response(PatientSerializer(found).data, headers={"Cache-Control": "no-store"})
