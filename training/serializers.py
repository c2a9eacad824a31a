"""What the REST resources of training show and take."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.actor import actor_of
from jobs.models import State
from training import gate, metrics, problems, queries
from training.models import Candidate, Model, ModelVersion, TrainingRun


class ProblemSerializer(serializers.Serializer[Any]):
    """What was found before the run started."""

    code = serializers.CharField()
    severity = serializers.ChoiceField(choices=["error", "warning"])
    column = serializers.CharField(allow_null=True)
    message = serializers.CharField()


class JobStateSerializer(serializers.Serializer[Any]):
    """The job behind a run; /jobs/{id}/ tells more."""

    id = serializers.UUIDField()
    state = serializers.CharField()
    fraction = serializers.FloatField()
    step = serializers.CharField()
    message = serializers.CharField()
    error = serializers.CharField(source="error_person")


class CandidateSerializer(serializers.ModelSerializer[Candidate]):
    """One candidate of a run, with its validation score and curve."""

    class Meta:
        model = Candidate
        fields = [
            "name", "status", "reason", "hyperparameters", "preprocessing", "metric", "validation_score", "validation_low",
            "validation_high", "fit_seconds", "curve", "chosen",
        ]  # fmt: skip


class VersionBriefSerializer(serializers.ModelSerializer[ModelVersion]):
    """A version in a list: how it did, and whether it may serve."""

    name = serializers.SerializerMethodField()
    metrics = serializers.SerializerMethodField()
    gate_reasons = serializers.SerializerMethodField()
    is_champion = serializers.SerializerMethodField()

    class Meta:
        model = ModelVersion
        fields = [
            "id", "model", "name", "number", "candidate", "chosen", "is_champion", "metrics", "latency_ms", "fit_seconds",
            "artefact_bytes", "gate_passed", "gate_reasons", "retired_at", "erased_at", "created_at",
        ]  # fmt: skip

    def get_name(self, version: ModelVersion) -> str:
        return str(version)

    @extend_schema_field(
        {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {}}}
    )
    def get_metrics(self, version: ModelVersion) -> Any:
        return version.metrics

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_gate_reasons(self, version: ModelVersion) -> list[str]:
        return [gate.reason_text(r) for r in version.gate_reasons]

    def get_is_champion(self, version: ModelVersion) -> bool:
        return version.model.champion_id == version.pk


class VersionSerializer(VersionBriefSerializer):
    """One version with its report; of another organisation's, no run, no data set and no lineage."""

    run = serializers.SerializerMethodField()
    lineage = serializers.SerializerMethodField()
    report = serializers.SerializerMethodField()
    classes = serializers.SerializerMethodField()
    columns = serializers.SerializerMethodField()
    operating_point = serializers.SerializerMethodField()

    class Meta(VersionBriefSerializer.Meta):
        fields = [
            *VersionBriefSerializer.Meta.fields,
            "run",
            "classes",
            "columns",
            "operating_point",
            "report",
            "lineage",
        ]

    def own(self, version: ModelVersion) -> bool:
        return queries.is_own(actor_of(self.context["request"]).organisation, version.model)

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_run(self, version: ModelVersion) -> str | None:
        return str(version.run_id) if self.own(version) else None

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_lineage(self, version: ModelVersion) -> Any:
        return version.lineage if self.own(version) else None

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_report(self, version: ModelVersion) -> Any:
        return version.report

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_classes(self, version: ModelVersion) -> Any:
        return version.classes

    @extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {}}})
    def get_columns(self, version: ModelVersion) -> Any:
        return version.schema.get("columns", [])

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_operating_point(self, version: ModelVersion) -> Any:
        return version.operating_point


class RunSerializer(serializers.ModelSerializer[TrainingRun]):
    """A run in a list."""

    job = serializers.SerializerMethodField()
    problems = serializers.SerializerMethodField()
    recipe = serializers.SerializerMethodField()

    class Meta:
        model = TrainingRun
        fields = [
            "id",
            "dataset",
            "version",
            "number",
            "target",
            "trigger",
            "repeat_of",
            "recipe",
            "problems",
            "job",
            "created_at",
        ]

    @extend_schema_field(JobStateSerializer(allow_null=True))
    def get_job(self, run: TrainingRun) -> Any:
        job = queries.current_job(run) if self.context.get("single") else run.job
        return JobStateSerializer(job).data if job else None

    @extend_schema_field(ProblemSerializer(many=True))
    def get_problems(self, run: TrainingRun) -> Any:
        return ProblemSerializer([problems.retold(p) for p in run.problems], many=True).data

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_recipe(self, run: TrainingRun) -> Any:
        return run.recipe


class RunDetailSerializer(RunSerializer):
    """A run with its candidates as they stand and the versions it made."""

    candidates = CandidateSerializer(many=True, read_only=True)
    versions = serializers.SerializerMethodField()

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "candidates", "versions"]

    @extend_schema_field(VersionBriefSerializer(many=True))
    def get_versions(self, run: TrainingRun) -> Any:
        rows = run.versions.select_related("model").defer(*queries.HEAVY).order_by("number")
        return VersionBriefSerializer(rows, many=True, context=self.context).data


class RunStartSerializer(serializers.Serializer[Any]):
    """What starts a run. `options` are fields of the recipe; /recipe-options/ lists them."""

    dataset = serializers.UUIDField()
    target = serializers.CharField(required=False, allow_null=True, max_length=200)
    options = serializers.DictField(
        required=False, default=dict, help_text="fields of the recipe; see /recipe-options/"
    )


class ModelSerializer(serializers.ModelSerializer[Model]):
    """A model; of another organisation's, no data set."""

    organisation = serializers.CharField(source="organisation.name", read_only=True)
    own = serializers.SerializerMethodField()
    dataset = serializers.SerializerMethodField()
    champion = serializers.SerializerMethodField()

    class Meta:
        model = Model
        fields = [
            "id",
            "name",
            "target",
            "task",
            "organisation",
            "own",
            "dataset",
            "champion",
            "nightly",
            "published_at",
            "created_at",
        ]

    def get_own(self, model: Model) -> bool:
        return queries.is_own(actor_of(self.context["request"]).organisation, model)

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_dataset(self, model: Model) -> str | None:
        return str(model.dataset_id) if self.get_own(model) else None

    @extend_schema_field(VersionBriefSerializer(allow_null=True))
    def get_champion(self, model: Model) -> Any:
        if model.champion is None:
            return None
        return VersionBriefSerializer(model.champion, context=self.context).data


class ReasonSerializer(serializers.Serializer[Any]):
    """Why a champion is confirmed or rolled back."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=300)


class RollBackSerializer(ReasonSerializer):
    """Why, and optionally to which version: a request that is sent twice then rolls back once."""

    to = serializers.UUIDField(
        required=False, help_text="the version that should serve again; 409 when it would be another one"
    )


class PublishSerializer(serializers.Serializer[Any]):
    """true: all organisations see it; false: only one's own."""

    published = serializers.BooleanField(required=False, default=True)
    name = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=200,
        help_text="what all organisations see; needed when the model's name holds the data set's",
    )  # fmt: skip


class EvaluateSerializer(serializers.Serializer[Any]):
    """New labelled records: a file (multipart) or `records` (JSON)."""

    file = serializers.FileField(
        required=False, help_text="CSV, TSV, XLSX or Parquet, with the target's column"
    )
    records = serializers.ListField(
        child=serializers.DictField(), required=False, allow_empty=False, max_length=10_000
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("file" in attrs) == ("records" in attrs):
            raise serializers.ValidationError({"file": "Send either a file or records."})
        return attrs


class EvaluationSerializer(serializers.Serializer[Any]):
    """How the version did on the records that were sent."""

    model_version = serializers.DictField()
    report = serializers.DictField(
        help_text="n_records, n_patients, seen_in_training, metrics, curves, confusion, per_class, …"
    )


class LeaderboardRowSerializer(serializers.Serializer[Any]):
    """One line: rank (shared by those a paired test cannot separate), value with interval, and the version."""

    rank = serializers.IntegerField(allow_null=True)
    tied = serializers.BooleanField()
    value = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField(allow_null=True)
    version = VersionBriefSerializer()


class LeaderboardSerializer(serializers.Serializer[Any]):
    """A page of the leaderboard."""

    model = serializers.UUIDField()
    metric = serializers.CharField()
    better = serializers.ChoiceField(choices=["higher", "lower"])
    test_sets_differ = serializers.BooleanField(
        help_text="whether the values come from different test records; ranks compare on shared ones"
    )
    note = serializers.CharField(allow_blank=True, help_text="what that means, in the caller's language")
    count = serializers.IntegerField()
    rows = LeaderboardRowSerializer(many=True)


class ModelFilterSerializer(serializers.Serializer[Any]):
    """Filters of the model list: `dataset` (one's own)."""

    dataset = serializers.UUIDField(required=False)


class VersionFilterSerializer(serializers.Serializer[Any]):
    """Filters of the version list: `model`; `run` (one's own)."""

    model = serializers.UUIDField(required=False)
    run = serializers.UUIDField(required=False)


class RunFilterSerializer(serializers.Serializer[Any]):
    """Filters of the run list: `dataset`, `trigger`, `state`."""

    dataset = serializers.UUIDField(required=False)
    trigger = serializers.ChoiceField(choices=TrainingRun.Trigger.choices, required=False)
    state = serializers.ChoiceField(choices=State.choices, required=False)


class LeaderboardQuerySerializer(serializers.Serializer[Any]):
    """`model`, or `dataset` (its newest model); `metric`; `start`."""

    model = serializers.UUIDField(required=False)
    dataset = serializers.UUIDField(required=False)
    metric = serializers.CharField(required=False, max_length=40)
    start = serializers.IntegerField(required=False, default=0, min_value=0, max_value=1_000_000)

    def validate_metric(self, value: str) -> str:
        if value not in metrics.known():
            raise serializers.ValidationError("There is no such metric.")
        return value


class OtherSerializer(serializers.Serializer[Any]):
    """One that is not recommended, and why not."""

    version = serializers.UUIDField()
    name = serializers.CharField()
    score = serializers.FloatField()
    reason = serializers.CharField()


class RecommendationSerializer(serializers.Serializer[Any]):
    """What fits the caller's preferences best: `state` is best, nearest (the floors are not reached) or none."""

    state = serializers.ChoiceField(choices=["best", "nearest", "none"])
    outcome = serializers.CharField(allow_blank=True)
    weights = serializers.DictField(child=serializers.FloatField())
    floors = serializers.DictField(child=serializers.FloatField())
    score = serializers.FloatField(allow_null=True)
    version = VersionBriefSerializer(allow_null=True)
    missed = serializers.ListField(child=serializers.CharField())
    others = OtherSerializer(many=True)
    created_at = serializers.DateTimeField()


class RecipeOptionsSerializer(serializers.Serializer[Any]):
    """Everything that may be chosen for a run, with defaults, meanings and limits."""

    options = serializers.DictField()
    candidates = serializers.ListField(child=serializers.DictField())
    metrics = serializers.ListField(child=serializers.DictField())


class GateSerializer(serializers.Serializer[Any]):
    """Floors that versions must reach: {metric: value}; `dataset` null for all data sets."""

    dataset = serializers.UUIDField(required=False, allow_null=True, default=None)
    floors = serializers.DictField(child=serializers.FloatField())
