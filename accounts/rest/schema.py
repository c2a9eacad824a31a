"""The OpenAPI schema tells the whole truth: the problems that every resource may answer, and Idempotency-Key."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema as SpectacularSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers


class FieldProblemSerializer(serializers.Serializer[Any]):
    """What is wrong with one field."""

    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()
    code = serializers.CharField()


class ProblemDetailsSerializer(serializers.Serializer[Any]):
    """RFC 9457 problem details."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    errors = FieldProblemSerializer(many=True, required=False)  # type: ignore[assignment]


KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A name of your own for this request: repeating it gives the first answer and creates nothing.",
)
ALWAYS = {"401": "Not signed in", "403": "Not allowed", "404": "Not found", "406": "Not acceptable", "429": "Too many requests"}
WRITING = {
    "400": "Not valid",
    "409": "Conflict",
    "413": "Too large",
    "415": "Unsupported media type",
    "422": "Cannot be processed",
}


class AutoSchema(SpectacularSchema):
    """drf-spectacular's, with the problems and the header that all our resources share."""

    def get_override_parameters(self) -> list[Any]:
        handler = getattr(self.view, self.method.lower(), None)
        own = list(super().get_override_parameters())
        return [*own, KEY_HEADER] if getattr(handler, "idempotent", False) else own

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        codes = ALWAYS | (WRITING if self.method not in {"GET", "HEAD"} else {"400": "Not valid"})
        for code, description in codes.items():
            if code not in bodies:
                response = OpenApiResponse(ProblemDetailsSerializer, description=description)
                media = ["application/problem+json"]
                bodies[code] = self._get_response_for_code(response, code, media, direction)  # type: ignore[no-untyped-call]
        return bodies
