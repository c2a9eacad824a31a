"""What the REST resources of data sets, columns, records and versions look like."""

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from datasets.cells.models import RecordFile
from datasets.models import Column, Dataset, DatasetVersion, Kind, Record, RecordChange, Role, Split


class CleanCharField(serializers.CharField):
    """Text without lone surrogates, which no database can store (DRF itself refuses NUL)."""

    def to_internal_value(self, data: Any) -> str:
        text: str = super().to_internal_value(data)
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise serializers.ValidationError(_("Contains a character that cannot be stored."))
        return text


class FiniteFloatField(serializers.FloatField):
    """A number that is not infinite and not NaN."""

    def to_internal_value(self, data: Any) -> float:
        try:
            value: float = super().to_internal_value(data)
        except OverflowError:
            value = float("inf")
        if value != value or value in (float("inf"), float("-inf")):
            self.fail("invalid")
        return value


class ColumnSerializer(serializers.ModelSerializer[Column]):
    """A column with its kind, role and limits."""

    name = CleanCharField(max_length=200)
    kind = serializers.ChoiceField(choices=Kind.choices)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.FEATURE)
    minimum = FiniteFloatField(allow_null=True, default=None, help_text=_("least possible value"))
    maximum = FiniteFloatField(allow_null=True, default=None, help_text=_("largest possible value"))

    identifies = serializers.BooleanField(
        required=False, help_text=_("tells who the patient is: masked in the texts of the same record; by its name if not given")
    )

    class Meta:
        model = Column
        fields = ["name", "kind", "role", "minimum", "maximum", "identifies"]


class ColumnChangeSerializer(serializers.Serializer[Any]):
    """A change of one column: only what is given changes."""

    name = CleanCharField(max_length=200)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    minimum = FiniteFloatField(allow_null=True, required=False)
    maximum = FiniteFloatField(allow_null=True, required=False)
    identifies = serializers.BooleanField(required=False, help_text=_("holds for records that come later"))


class ColumnChangesSerializer(serializers.Serializer[Any]):
    """Changes of several columns at once."""

    columns = ColumnChangeSerializer(many=True, allow_empty=False, max_length=2000)  # type: ignore[call-arg]
    confirm = serializers.BooleanField(
        default=False, help_text=_("needed when the change rewrites the records that are there")
    )


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """A data set with its counts."""

    target = serializers.SerializerMethodField(help_text=_("name of the target column"))
    url = serializers.SerializerMethodField(help_text=_("its page in the portal"))

    class Meta:
        model = Dataset
        fields = [
            "id",
            "name",
            "description",
            "target",
            "record_count",
            "test_count",
            "test_fraction",
            "created_at",
            "updated_at",
            "archived_at",
            "url",
        ]
        read_only_fields = fields

    def get_target(self, dataset: Dataset) -> str | None:
        if hasattr(dataset, "target_name"):
            return dataset.target_name  # type: ignore[no-any-return]
        return dataset.columns.filter(role=Role.TARGET).values_list("name", flat=True).first()

    def get_url(self, dataset: Dataset) -> str:
        return reverse("datasets:detail", args=[dataset.pk])


class DatasetDetailSerializer(DatasetSerializer):
    """A data set with its columns."""

    columns = ColumnSerializer(many=True)

    class Meta(DatasetSerializer.Meta):
        fields = [*DatasetSerializer.Meta.fields, "columns"]
        read_only_fields = fields


class DatasetCreateSerializer(serializers.Serializer[Any]):
    """A new data set; columns can be given here, or come with the first upload."""

    name = CleanCharField(max_length=150)
    description = CleanCharField(allow_blank=True, default="", max_length=10_000)
    test_fraction = FiniteFloatField(default=0.2, min_value=0.05, max_value=0.5)
    columns = ColumnSerializer(many=True, default=list, max_length=2000)  # type: ignore[call-arg]


class DatasetChangeSerializer(serializers.Serializer[Any]):
    """A new name or description, or putting the data set away (and bringing it back)."""

    name = CleanCharField(max_length=150, required=False)
    description = CleanCharField(allow_blank=True, max_length=10_000, required=False)
    archived = serializers.BooleanField(required=False)


VALUES = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}


@extend_schema_field(VALUES)
class ValuesField(serializers.JSONField):
    """Column name → value."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError(_("A record is an object: {column name: value}."))
        return data


class RecordSerializer(serializers.ModelSerializer[Record]):
    """A record. `split` "test" means that it belongs to the locked test, which no training ever sees."""

    values = ValuesField()
    patient = serializers.CharField(source="patient_key")
    upload = serializers.UUIDField(source="upload_id", allow_null=True)

    class Meta:
        model = Record
        fields = [
            "id",
            "values",
            "patient",
            "target",
            "split",
            "source",
            "upload",
            "row_number",
            "created_at",
        ]
        read_only_fields = fields


class RecordChangeSerializer(serializers.ModelSerializer[RecordChange]):
    """A corrected value of a record, by whom, when and why."""

    changed_by = serializers.EmailField(source="changed_by.email", default=None, allow_null=True)
    old_value = serializers.JSONField(allow_null=True)
    new_value = serializers.JSONField(allow_null=True)

    class Meta:
        model = RecordChange
        fields = ["column", "old_value", "new_value", "reason", "changed_by", "changed_at"]
        read_only_fields = fields


class RecordFileSerializer(serializers.ModelSerializer[RecordFile]):
    """The file of one cell; `id` is the cell's value."""

    id = serializers.CharField(source="file.sha256")
    size = serializers.IntegerField(source="file.size", help_text=_("bytes"))

    class Meta:
        model = RecordFile
        fields = ["column", "id", "name", "size"]
        read_only_fields = fields


class RecordDetailSerializer(RecordSerializer):
    """A record with its history, newest change first."""

    changes = RecordChangeSerializer(many=True)
    files = RecordFileSerializer(many=True)

    class Meta(RecordSerializer.Meta):
        fields = [*RecordSerializer.Meta.fields, "changes", "files"]
        read_only_fields = fields


class RecordPageSerializer(serializers.Serializer[Any]):
    """One page of records. `looked_at` is how many were searched for it; `next` goes on from there, also after an empty page."""

    next = serializers.URLField(allow_null=True)
    looked_at = serializers.IntegerField()
    results = RecordSerializer(many=True)


class RecordsCreateSerializer(serializers.Serializer[Any]):
    """One record under `values`, or up to 1,000 under `records`: all are taken, or none."""

    values = ValuesField(required=False)
    records = serializers.ListField(child=ValuesField(), required=False, min_length=1, max_length=1000)
    known = serializers.ListField(
        child=CleanCharField(max_length=300), default=list, max_length=500,
        help_text=_("names, numbers, dates, addresses of the patients, to be masked in the records' texts; they are not kept"),
    )  # fmt: skip

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("values" in attrs) == ("records" in attrs):
            raise serializers.ValidationError(
                {"records": _("Give one record as “values”, or many as “records”.")}
            )
        return attrs


RecordsCreatedSerializer = inline_serializer(
    "RecordsCreated",
    {
        "added": serializers.IntegerField(),
        "repeated": serializers.IntegerField(help_text=_("were there already")),
        "records": inline_serializer(
            "RecordCreated",
            {
                "id": serializers.IntegerField(),
                "created": serializers.BooleanField(),
                "split": serializers.ChoiceField(choices=Split.choices),
            },
            many=True,
        ),
    },
)


class LabelSerializer(serializers.Serializer[Any]):
    """A corrected label, with the reason."""

    label = serializers.JSONField(allow_null=True)  # type: ignore[assignment]
    reason = CleanCharField(max_length=300)


class DatasetVersionSerializer(serializers.ModelSerializer[DatasetVersion]):
    """A frozen version. `record_count` is the count at freezing; `erased_count` of them have been erased since."""

    available = serializers.SerializerMethodField(help_text=_("whether its records are still there"))

    class Meta:
        model = DatasetVersion
        fields = [
            "id",
            "number",
            "content_hash",
            "columns",
            "record_count",
            "test_count",
            "patient_count",
            "erased_count",
            "available",
            "created_at",
        ]
        read_only_fields = fields

    def get_available(self, version: DatasetVersion) -> bool:
        return version.file_id is not None
