"""How importers are told and asked for over REST. A secret goes in and never comes out."""

from typing import Any
from zoneinfo import available_timezones

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasets.api_uploads import ColumnChoiceSerializer
from datasets.importing.models import Importer, ImporterRun, Schedule, Treatment


class FieldSerializer(serializers.Serializer[Any]):
    """What a source's settings ask for."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # the answer's; a DRF field has one of this name
    help = serializers.CharField()
    required = serializers.BooleanField()  # type: ignore[assignment]  # the same
    secret = serializers.BooleanField()
    choices = serializers.ListField(child=serializers.CharField(), help_text="empty: free text")


class KindSerializer(serializers.Serializer[Any]):
    """A kind of source and its settings."""

    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # the answer's; a DRF field has one of this name
    explained = serializers.CharField()
    delivers = serializers.ChoiceField(choices=["rows", "files"])
    settings = FieldSerializer(many=True)


class ImporterSerializer(serializers.ModelSerializer[Importer]):
    """An importer without its secrets."""

    dataset = serializers.UUIDField(source="dataset_id", read_only=True, allow_null=True)
    settings = serializers.SerializerMethodField()
    secrets_set = serializers.SerializerMethodField()
    ready = serializers.BooleanField(read_only=True, help_text="false: nobody has mapped its fields yet")
    columns = serializers.SerializerMethodField()

    class Meta:
        model = Importer
        fields = (
            "id", "name", "kind", "settings", "secrets_set", "treatment", "dataset", "ready", "columns", "schedule", "every",
            "at", "zone", "quiet_days", "paused", "next_run_at", "came_at", "failing_since", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_settings(self, row: Importer) -> dict[str, Any]:
        return dict(row.settings) if self.context.get("manages") else {}

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_secrets_set(self, row: Importer) -> list[str]:
        return sorted(row.secrets) if self.context.get("manages") else []

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_columns(self, row: Importer) -> list[dict[str, Any]]:
        from datasets.importing.lots import named

        columns = row.options.get("columns", [])
        return [{"field": named(c), "column": c["name"], "kind": c["kind"], "role": c["role"]} for c in columns]


class NewImporterSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    kind = serializers.CharField(max_length=20, help_text="one of GET /importers/kinds/")
    settings = serializers.DictField(help_text="the fields of the kind, secrets among them")
    treatment = serializers.ChoiceField(choices=Treatment.choices, required=False, default=Treatment.ARRIVAL)
    dataset = serializers.UUIDField(required=False, allow_null=True, help_text="null: a new one, when the mapping is confirmed")


class ImporterChangeSerializer(serializers.Serializer[Any]):
    """What is left out stays. Of `settings` also: a secret that is left out is kept."""

    name = serializers.CharField(max_length=100, required=False)
    settings = serializers.DictField(required=False)
    treatment = serializers.ChoiceField(choices=Treatment.choices, required=False)
    dataset = serializers.UUIDField(required=False, allow_null=True)
    from_beginning = serializers.BooleanField(required=False, default=False)


class MappingSerializer(serializers.Serializer[Any]):
    """Which columns to keep and as what; what is left out stays as previewed."""

    columns = ColumnChoiceSerializer(many=True, required=False)
    new_dataset_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    keep_good_rows = serializers.BooleanField(required=False, default=True)


class ScheduleSerializer(serializers.Serializer[Any]):
    schedule = serializers.ChoiceField(choices=Schedule.choices, allow_blank=True)
    every = serializers.IntegerField(min_value=1, max_value=1000, required=False, default=1)
    at = serializers.TimeField(required=False, allow_null=True, help_text="of a daily schedule")
    zone = serializers.CharField(max_length=50, required=False, allow_blank=True, help_text="such as Europe/Berlin")
    quiet_days = serializers.IntegerField(min_value=1, max_value=365, required=False, allow_null=True)

    def validate_zone(self, value: str) -> str:
        if value and value not in available_timezones():
            raise serializers.ValidationError("There is no such time zone.")
        return value


class PauseSerializer(serializers.Serializer[Any]):
    paused = serializers.BooleanField()


class LookSerializer(serializers.Serializer[Any]):
    """What the last test found: `state` is none, waiting, found or failed."""

    state = serializers.CharField()
    job = serializers.UUIDField(allow_null=True)
    found = serializers.CharField(help_text="what answered, in a sentence")
    code = serializers.CharField(help_text="of what failed")
    text = serializers.CharField(help_text="what was wrong and what to do")
    notes = serializers.ListField(child=serializers.CharField())
    faulty = serializers.ListField(child=serializers.DictField())
    files = serializers.ListField(child=serializers.CharField())
    columns = serializers.ListField(child=serializers.DictField())
    rows = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))


class ImporterRunSerializer(serializers.ModelSerializer[ImporterRun]):
    """One run. `rows_…` are filled in as its uploads are imported."""

    job = serializers.UUIDField(source="job_id", read_only=True, allow_null=True)
    waiting = serializers.DictField(
        child=serializers.IntegerField(), read_only=True, help_text="what the source does not give yet, by reason"
    )

    class Meta:
        model = ImporterRun
        fields: tuple[str, ...] = (
            "id", "state", "job", "started_at", "finished_at", "rows_read", "rows_added", "rows_duplicate", "rows_refused",
            "rows_erased", "files", "faulty_count", "error_code", "error_text", "waiting",
        )  # fmt: skip
        read_only_fields = fields


class RefusedRowSerializer(serializers.Serializer[Any]):
    """A row that the import refused, without its values. `column` is empty where the whole row is meant."""

    upload = serializers.UUIDField()
    row = serializers.CharField()
    column = serializers.CharField()
    reason = serializers.CharField()


class ImporterRunDetailSerializer(ImporterRunSerializer):
    """With what could not be taken, and the uploads and arrivals that came of it."""

    faulty = serializers.ListField(child=serializers.DictField(), read_only=True)
    notes = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="fields not mapped")
    refused = serializers.SerializerMethodField(help_text="the first rows that the import refused")
    uploads = serializers.SerializerMethodField()
    arrivals = serializers.SerializerMethodField()

    class Meta(ImporterRunSerializer.Meta):
        fields = (*ImporterRunSerializer.Meta.fields, "faulty", "refused", "notes", "uploads", "arrivals")
        read_only_fields = fields

    @extend_schema_field(RefusedRowSerializer(many=True))
    def get_refused(self, row: ImporterRun) -> list[dict[str, Any]]:
        from datasets.importing import refusals

        rows = refusals.first(row) if row.rows_refused else []
        return [{"upload": str(r.upload.pk), "row": r.row, "column": r.column, "reason": r.reason} for r in rows]

    def _made(self, row: ImporterRun, name: str) -> list[str]:
        return [str(pk) for pk in row.deliveries.exclude(**{name: None}).values_list(name, flat=True)[:1000]]

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_uploads(self, row: ImporterRun) -> list[str]:
        return self._made(row, "upload")

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_arrivals(self, row: ImporterRun) -> list[str]:
        return self._made(row, "arrival")
