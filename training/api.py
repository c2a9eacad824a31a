"""REST: training runs, the recipe's options, the gate and the recommendation. Models are in api_models.py."""

from typing import Any, ClassVar
from uuid import UUID

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent_long
from accounts.rest.problems import Problem
from accounts.scoping import get_or_404
from datasets.models import Dataset
from jobs.services import NotPossible, cancel
from training import gate, queries, recommendation, serializers, services
from training.errors import ChangeRefused
from training.models import Gate, TrainingRun
from training.options import describe_options

Permissions = dict[str, Permission | None]
RUNS: Permissions = {"read": Permission.VIEW_MODELS, "write": Permission.TRAIN}


def valid(serializer: Any) -> dict[str, Any]:
    """The serializer's data, or a problem that names the field."""
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class RunList(generics.ListAPIView[TrainingRun]):
    """The organisation's training runs."""

    permissions: ClassVar[Permissions] = RUNS
    serializer_class = serializers.RunSerializer

    def get_queryset(self) -> Any:
        asked = valid(serializers.RunFilterSerializer(data=self.request.query_params))
        if "state" in asked:
            asked["job__state"] = asked.pop("state")
        runs = TrainingRun.objects.for_organisation(actor_of(self.request).organisation)
        return runs.filter(**asked).select_related("job")

    @extend_schema(parameters=[serializers.RunFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The runs, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(request=serializers.RunStartSerializer, responses={201: serializers.RunDetailSerializer})
    @idempotent_long
    def post(self, request: Request) -> Response:
        """Start a run; the same run that is still under way is returned instead of a second one.

        422 with `problems` when training would be pointless or unsafe: one class, too few patients, only leaking columns, …
        """
        data = valid(serializers.RunStartSerializer(data=request.data))
        actor = actor_of(request)
        dataset = get_or_404(Dataset.objects, actor, pk=data["dataset"])
        try:
            run = services.start_run(
                actor=actor,
                dataset=dataset,
                target=data.get("target"),
                options=data["options"],
                trigger="api",
            )
        except services.RunRefused as refused:
            raise refusal(refused) from refused
        return Response(detail(run, request), status=201)


def refusal(refused: services.RunRefused) -> Problem:
    """What was found, and under `errors` which fields of the request are wrong: those of the options."""
    errors = [
        {"field": f"options.{p['column']}", "message": p["message"], "code": p["code"]}
        for p in refused.problems
        if p["code"].startswith("recipe_") and p["column"]
    ]
    problems = serializers.ProblemSerializer(refused.problems, many=True).data
    return Problem(422, "training-refused", str(refused), problems=problems, errors=errors)


def detail(run: TrainingRun, request: Request) -> Any:
    """A run with everything."""
    return serializers.RunDetailSerializer(run, context={"request": request, "single": True}).data


class RunDetail(APIView):
    """One run."""

    permissions: ClassVar[Permissions] = RUNS
    serializer_class = serializers.RunDetailSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        """The run with its job, its candidates as they stand and the versions it made."""
        run = get_or_404(TrainingRun.objects.select_related("job"), actor_of(request), pk=pk)
        return Response(detail(run, request))


class RunCancel(APIView):
    """Cancel a run."""

    permissions: ClassVar[Permissions] = {"write": Permission.TRAIN}
    serializer_class = serializers.RunDetailSerializer

    @extend_schema(request=None, responses=serializers.RunDetailSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Ask the run to stop. 409 when it has ended already."""
        actor = actor_of(request)
        run = get_or_404(TrainingRun.objects.select_related("job"), actor, pk=pk)
        job = queries.current_job(run)
        if job is None:
            raise Problem(409, "not-running", _("This run has no job that could be cancelled."))
        try:
            cancel(actor=actor, job=job)
        except NotPossible as error:
            raise Problem(409, "not-running", str(error)) from error
        run.refresh_from_db()
        return Response(detail(run, request))


class RunRepeat(APIView):
    """Repeat a run."""

    permissions: ClassVar[Permissions] = {"write": Permission.TRAIN}
    serializer_class = serializers.RunDetailSerializer

    @extend_schema(request=None, responses={201: serializers.RunDetailSerializer})
    @idempotent_long
    def post(self, request: Request, pk: UUID) -> Response:
        """The same recipe on the same frozen records: the same numbers."""
        actor = actor_of(request)
        run = get_or_404(TrainingRun.objects.select_related("version", "dataset"), actor, pk=pk)
        try:
            again = services.repeat_run(actor=actor, run=run)
        except services.RunRefused as refused:
            raise refusal(refused) from refused
        return Response(detail(again, request), status=201)


class RecipeOptions(APIView):
    """What may be chosen for a run."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_MODELS}
    serializer_class = serializers.RecipeOptionsSerializer

    @extend_schema(responses=serializers.RecipeOptionsSerializer)
    def get(self, request: Request) -> Response:
        """Every option, candidate, hyperparameter and metric with its default, meaning and limits."""
        return Response(describe_options())


class GateView(APIView):
    """The floors that versions must reach to enter the repository."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_MODELS, "write": Permission.CONFIRM_MODEL}
    serializer_class = serializers.GateSerializer

    @extend_schema(operation_id="gate_list", responses=serializers.GateSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The organisation's floors and those of its data sets."""
        rows = Gate.objects.for_organisation(actor_of(request).organisation).order_by("pk")
        return Response([{"dataset": r.dataset_id, "floors": r.floors} for r in rows])

    @extend_schema(request=serializers.GateSerializer, responses=serializers.GateSerializer)
    def put(self, request: Request) -> Response:
        """Set the floors of the organisation, or of one data set. Holds for versions that arrive from now on."""
        actor = actor_of(request)
        data = valid(serializers.GateSerializer(data=request.data))
        dataset = get_or_404(Dataset.objects, actor, pk=data["dataset"]) if data["dataset"] else None
        try:
            row = gate.save_gate(actor=actor, dataset=dataset, floors=data["floors"])
        except ChangeRefused as error:
            raise Problem(400, error.code, str(error)) from error
        return Response({"dataset": row.dataset_id, "floors": row.floors})


class RecommendationView(APIView):
    """The model that fits the caller's preferences."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_MODELS}
    serializer_class = serializers.RecommendationSerializer

    @extend_schema(responses=serializers.RecommendationSerializer)
    def get(self, request: Request) -> Response:
        """What is recommended, why, and for each other one why not."""
        actor = actor_of(request)
        assert actor.organisation is not None and actor.user is not None
        made = recommendation.current(organisation=actor.organisation, user=actor.user)
        reasons = made.reasons
        body = {
            "state": reasons["state"], "outcome": made.outcome, "weights": made.weights, "floors": made.floors,
            "score": reasons["score"], "version": made.version or made.nearest, "created_at": made.created_at,
            "missed": [recommendation.missed_text(m) for m in reasons["missed"]],
            "others": [
                {"version": o["version"], "name": f"{o['model']} v{o['number']}", "score": o["score"],
                 "reason": recommendation.other_text(o)}
                for o in reasons["others"]
            ],
        }  # fmt: skip
        return Response(serializers.RecommendationSerializer(body, context={"request": request}).data)
