"""How the REST resources look, for the OpenAPI schema and for checking what is not on the hot path."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.models import Diagnosis, Review
from inference.validation import MAX_RECORDS

RECORD: dict[str, Any] = {
    "oneOf": [
        {"type": "object", "additionalProperties": True, "description": "column name → value; what is left out is not known"},
        {"type": "string", "description": "the value of the model's single text column"},
    ]
}


@extend_schema_field(RECORD)
class RecordField(serializers.Field[Any, Any, Any, Any]):
    """An object of column and value, or a bare text."""


class AskSerializer(serializers.Serializer[Any]):
    """What is sent: a model (its champion answers) or a version, and one record or up to 1,000."""

    model = serializers.UUIDField(required=False, help_text="its champion answers")
    version = serializers.UUIDField(required=False, help_text="this version answers")
    record = RecordField(required=False)
    records = serializers.ListField(child=RecordField(), required=False, min_length=1, max_length=MAX_RECORDS)


class AskPartsSerializer(serializers.Serializer[Any]):
    """The same as multipart, with files: `record` or `records` as JSON texts; any number of parts that are files."""

    model = serializers.UUIDField(required=False, help_text="its champion answers")
    version = serializers.UUIDField(required=False, help_text="this version answers")
    record = serializers.CharField(required=False, help_text="JSON; a file called like a column fills it")
    records = serializers.CharField(required=False, help_text="JSON; a cell that is the name of a part becomes its file")
    file = serializers.FileField(required=False, help_text="any part; its name is a column's or stands in a cell")


class WarningSerializer(serializers.Serializer[Any]):
    """What is missing, unusual or unlike training."""

    code = serializers.CharField()
    column = serializers.CharField(allow_null=True)
    value = serializers.JSONField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    message = serializers.CharField()


@extend_schema_field({"type": ["array", "null"], "items": {"type": "array", "items": {}}})
class WordsField(serializers.Field[Any, Any, Any, Any]):
    """Pairs of a term and its contribution."""


class ContributionSerializer(serializers.Serializer[Any]):
    """How far one column moved the result."""

    column = serializers.CharField()
    value = serializers.JSONField(allow_null=True)
    contribution = serializers.FloatField()
    direction = serializers.ChoiceField(choices=["for", "against"])
    words = WordsField()


@extend_schema_field({"type": "object", "additionalProperties": {
    "type": "object",
    "properties": {
        "kind": {"type": "string"}, "method": {"type": "string"}, "axes": {"type": "array", "items": {"type": "string"}},
        "regions": {"type": "array", "items": {"type": "object", "properties": {
            "ranges": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "contribution": {"type": "number"}}}},
    },
}})  # fmt: skip
class RegionsField(serializers.Field[Any, Any, Any, Any]):
    """The parts of each file, the most telling first."""


class ReasonsSerializer(serializers.Serializer[Any]):
    """What spoke for and against, in log odds of the decided class or in units of the target."""

    explained = serializers.CharField(allow_null=True, help_text="the decided class; null for regression")
    base = serializers.FloatField(help_text="where the usual record stands")
    score = serializers.FloatField(help_text="base plus all contributions")
    unit = serializers.CharField()
    contributions = ContributionSerializer(many=True)
    regions = RegionsField(help_text="column of files → where in its file the reasons lie")


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]})
class ValueField(serializers.Field[Any, Any, Any, Any]):
    """The decided class, or the number; null once the patient was erased."""


@extend_schema_field({"type": ["object", "null"], "additionalProperties": {"type": ["number", "null"]}})
class ProbabilitiesField(serializers.Field[Any, Any, Any, Any]):
    """Class → calibrated probability; null for regression."""


@extend_schema_field({"type": ["array", "null"], "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2})
class IntervalField(serializers.Field[Any, Any, Any, Any]):
    """Low and high of the 95% interval."""


class DiagnosisSerializer(serializers.Serializer[Any]):
    """One diagnosis as it is answered."""

    id = serializers.UUIDField()
    value = ValueField()
    probability = serializers.FloatField(allow_null=True, help_text="calibrated, of the decided class")
    probabilities = ProbabilitiesField()
    interval = IntervalField(help_text="95%, of `probability`; for regression of the number")
    set = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="the classes that stay possible at 95% confidence"
    )
    out_of_distribution = serializers.BooleanField()
    ood_score = serializers.FloatField(allow_null=True, help_text="above 1 is unlike training")
    warnings = WarningSerializer(many=True)
    model = serializers.UUIDField()
    model_version = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    url = serializers.CharField(help_text="the page in the portal")
    reasons = ReasonsSerializer(required=False, help_text="with ?reasons=1")


class AnsweredSerializer(serializers.Serializer[Any]):
    """The answer to `records`: the diagnoses in their order. (To `record`: the one diagnosis.)"""

    diagnoses = DiagnosisSerializer(many=True)


class ReviewSerializer(serializers.ModelSerializer[Review]):
    """What a clinician said."""

    reviewed_by = serializers.CharField(source="reviewed_by.email", default=None, allow_null=True)

    class Meta:
        model = Review
        fields = ["id", "verdict", "corrected_value", "reason", "record", "reviewed_by", "reviewed_at"]


class ReviewSavedSerializer(ReviewSerializer):
    """What a clinician has just said, and why no labelled record came of it."""

    record_refused = serializers.CharField(
        read_only=True, help_text="why no labelled record was made or changed, in words; else empty"
    )

    class Meta(ReviewSerializer.Meta):
        fields = [*ReviewSerializer.Meta.fields, "record_refused"]


class ReviewRequestSerializer(serializers.Serializer[Any]):
    """What is sent to review a diagnosis."""

    verdict = serializers.ChoiceField(choices=Review.Verdict.choices)
    corrected_value = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=200, help_text="needed with “corrected”"
    )
    reason = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=500, help_text="needed with “rejected”"
    )


class DiagnosisListSerializer(DiagnosisSerializer):
    """One diagnosis in the list."""

    patient = serializers.CharField(allow_blank=True)
    verdict = serializers.CharField(allow_blank=True, help_text="of the latest review; empty: not reviewed")
    batch = serializers.UUIDField(allow_null=True)
    erased = serializers.BooleanField(help_text="the patient was erased; value and inputs are gone")


class DiagnosisDetailSerializer(DiagnosisListSerializer):
    """One diagnosis with what was given, why, and what was said of it."""

    inputs = serializers.DictField()
    reviews = ReviewSerializer(many=True)


class FilterSerializer(serializers.Serializer[Any]):
    """The filters of the list, checked."""

    model = serializers.UUIDField(required=False)
    version = serializers.UUIDField(required=False)
    batch = serializers.UUIDField(required=False)
    verdict = serializers.ChoiceField(required=False, choices=["unreviewed", *Review.Verdict.values])
    value = serializers.CharField(required=False, max_length=200)
    patient = serializers.CharField(required=False, max_length=100)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class BatchSerializer(serializers.Serializer[Any]):
    """Many diagnoses asked for at once."""

    id = serializers.UUIDField()
    model_version = serializers.UUIDField(source="model_version_id")
    record_count = serializers.IntegerField()
    created_at = serializers.DateTimeField()


def output_of(row: Diagnosis) -> dict[str, Any]:
    """A saved diagnosis's output with every key, also when it was erased."""
    empty: dict[str, Any] = {
        "probabilities": None, "interval": None, "set": None, "out_of_distribution": False, "ood_score": None, "warnings": [],
    }  # fmt: skip
    return {**empty, **(row.output or {})}
