"""REST: models, their versions, the leaderboard, and scoring new labelled records."""

from typing import Any, ClassVar
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.parsers import JSONParser
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from training import evaluation, leaderboard, metrics, queries, serializers, services
from training.api import Permissions, valid
from training.errors import ChangeRefused, EvaluationRefused
from training.models import Model, ModelVersion

READ: Permissions = {"read": Permission.VIEW_MODELS}


def visible_models(request: Request) -> Any:
    """The models that the caller sees."""
    models = queries.visible_models(actor_of(request).organisation)
    heavy = [f"champion__{name}" for name in queries.HEAVY]
    return models.select_related("organisation", "champion__model").defer(*heavy)


class ModelList(generics.ListAPIView[Model]):
    """The organisation's own models and those that others have published."""

    permissions: ClassVar[Permissions] = READ
    serializer_class = serializers.ModelSerializer

    def get_queryset(self) -> Any:
        asked = valid(serializers.ModelFilterSerializer(data=self.request.query_params))
        models = visible_models(self.request)
        if "dataset" in asked:  # only one's own: whose data set a published model learned from is not shown
            organisation = actor_of(self.request).organisation
            models = models.filter(organisation=organisation, dataset=asked["dataset"])
        return models

    @extend_schema(parameters=[serializers.ModelFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The models, newest first."""
        return super().get(request, *args, **kwargs)


class ModelDetail(APIView):
    """One model."""

    permissions: ClassVar[Permissions] = READ
    serializer_class = serializers.ModelSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        """The model with its champion."""
        model = get_object_or_404(visible_models(request), pk=pk)
        return Response(serializers.ModelSerializer(model, context={"request": request}).data)


def changed(model: Model, request: Request) -> Response:
    """The model as it is now."""
    row = visible_models(request).get(pk=model.pk)
    return Response(serializers.ModelSerializer(row, context={"request": request}).data)


class ModelRollBack(APIView):
    """Roll back to the champion before this one."""

    permissions: ClassVar[Permissions] = {"write": Permission.CONFIRM_MODEL}
    serializer_class = serializers.ModelSerializer

    @extend_schema(request=serializers.RollBackSerializer, responses=serializers.ModelSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """409 when there is no earlier champion that could serve again."""
        actor = actor_of(request)
        model = get_or_404(Model.objects, actor, pk=pk)
        data = valid(serializers.RollBackSerializer(data=request.data))
        to = str(data["to"]) if "to" in data else None
        try:
            services.roll_back(actor=actor, model=model, reason=data["reason"], to=to)
        except ChangeRefused as error:
            raise Problem(409, error.code, str(error)) from error
        return changed(model, request)


class ModelPublish(APIView):
    """Publish a model to all organisations, or take it back."""

    permissions: ClassVar[Permissions] = {"write": Permission.PUBLISH_MODEL}
    serializer_class = serializers.ModelSerializer

    @extend_schema(request=serializers.PublishSerializer, responses=serializers.ModelSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """409 when the model has no champion, or a name that tells what the data set is called (then send another `name`)."""
        actor = actor_of(request)
        model = get_or_404(Model.objects, actor, pk=pk)
        data = valid(serializers.PublishSerializer(data=request.data))
        try:
            if data["published"]:
                services.publish(actor=actor, model=model, name=data["name"])
            else:
                services.unpublish(actor=actor, model=model)
        except ChangeRefused as error:
            raise Problem(409, error.code, str(error)) from error
        return changed(model, request)


class VersionList(generics.ListAPIView[ModelVersion]):
    """The versions that the caller sees: all of their own models, the champions of others' published ones."""

    permissions: ClassVar[Permissions] = READ
    serializer_class = serializers.VersionBriefSerializer

    def get_queryset(self) -> Any:
        asked = valid(serializers.VersionFilterSerializer(data=self.request.query_params))
        organisation = actor_of(self.request).organisation
        versions = queries.visible_versions(organisation)
        if "model" in asked:
            versions = versions.filter(model=asked["model"])
        if "run" in asked:
            versions = versions.filter(run=asked["run"], run__organisation=organisation)
        return versions.select_related("model").defer(*queries.HEAVY)

    @extend_schema(parameters=[serializers.VersionFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The versions, newest first."""
        return super().get(request, *args, **kwargs)


def visible_version(request: Request, pk: UUID) -> ModelVersion:
    """The version, if the caller sees it; else 404."""
    versions = queries.visible_versions(actor_of(request).organisation)
    version: ModelVersion = get_object_or_404(versions.select_related("model"), pk=pk)
    return version


class VersionDetail(APIView):
    """One version."""

    permissions: ClassVar[Permissions] = READ
    serializer_class = serializers.VersionSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        """The version with its report; of one's own also with its lineage."""
        version = visible_version(request, pk)
        return Response(serializers.VersionSerializer(version, context={"request": request}).data)


class VersionConfirm(APIView):
    """Make a version the champion."""

    permissions: ClassVar[Permissions] = {"write": Permission.CONFIRM_MODEL}
    serializer_class = serializers.VersionSerializer

    @extend_schema(request=serializers.ReasonSerializer, responses=serializers.VersionSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """409 when it failed the gate or is retired. Repeating it changes nothing."""
        actor = actor_of(request)
        version = get_or_404(ModelVersion.objects.select_related("model"), actor, pk=pk)
        data = valid(serializers.ReasonSerializer(data=request.data))
        try:
            services.confirm_champion(actor=actor, version=version, reason=data["reason"])
        except ChangeRefused as error:
            raise Problem(409, error.code, str(error)) from error
        version = visible_version(request, pk)
        return Response(serializers.VersionSerializer(version, context={"request": request}).data)


class VersionEvaluate(APIView):
    """Score a version on new labelled records, which are not stored."""

    permissions: ClassVar[Permissions] = {"write": Permission.DIAGNOSE}
    serializer_class = serializers.EvaluationSerializer
    parser_classes = [MultiPartParser, JSONParser]

    @extend_schema(request=serializers.EvaluateSerializer, responses=serializers.EvaluationSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """A report with metrics, intervals and curves. Nothing of what is sent is kept."""
        version = visible_version(request, pk)
        data = valid(serializers.EvaluateSerializer(data=request.data))
        try:
            report = self.report(request, version, data)
        except EvaluationRefused as error:
            errors = [{"field": error.field, "message": str(error), "code": error.code}]
            raise Problem(422, error.code.replace("_", "-"), str(error), errors=errors) from error
        named = {"id": str(version.pk), "name": str(version), "number": version.number}
        return Response({"model_version": named, "report": report})

    def report(self, request: Request, version: ModelVersion, data: dict[str, Any]) -> dict[str, Any]:
        """Of a file, which may be a zip with the files that its table names, or of records. Raises EvaluationRefused."""
        actor = actor_of(request)
        if "file" not in data:
            table = evaluation.from_records(data["records"])
            return evaluation.evaluate(actor=actor, version=version, table=table, field="records")
        with evaluation.from_file(data["file"], version) as (table, files):
            return evaluation.evaluate(actor=actor, version=version, table=table, files=files)


class LeaderboardView(APIView):
    """A model's versions by a metric."""

    permissions: ClassVar[Permissions] = READ
    serializer_class = serializers.LeaderboardSerializer

    @extend_schema(
        parameters=[serializers.LeaderboardQuerySerializer], responses=serializers.LeaderboardSerializer
    )
    def get(self, request: Request) -> Response:
        """The best first; versions that a paired test cannot separate share a rank."""
        query = valid(serializers.LeaderboardQuerySerializer(data=request.query_params))
        own = Model.objects.for_organisation(actor_of(request).organisation)
        if "model" in query:
            own = own.filter(pk=query["model"])
        elif "dataset" in query:
            own = own.filter(dataset=query["dataset"])
        else:
            raise ValidationError({"model": ErrorDetail(_("Give model or dataset."), code="required")})
        model = get_object_or_404(own.order_by("-created_at")[:1])
        metric = query.get("metric") or leaderboard.default_metric(model, actor_of(request))
        rows = leaderboard.rows(model, metric, start=query["start"])
        differ = leaderboard.test_sets_differ(model, metric)
        body = {
            "test_sets_differ": differ, "note": leaderboard.test_sets_note() if differ else "",
            "model": model.pk, "metric": metric, "better": "higher" if metrics.higher_is_better(metric) else "lower",
            "count": model.versions.count(), "rows": rows,
        }  # fmt: skip
        return Response(serializers.LeaderboardSerializer(body, context={"request": request}).data)
