"""The REST resources of accounts."""

from typing import Any, ClassVar
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import choices, services
from accounts.actor import Actor, actor_of
from accounts.audit_queries import filtered
from accounts.models import ApiKey, AuditEvent, Membership, Notification, Organisation, Preference
from accounts.permissions import Permission
from accounts.rest.idempotency import idempotent
from accounts.serializers import (
    AuditEventSerializer,
    AuditFilterSerializer,
    KeyCreateSerializer,
    KeySerializer,
    MemberSerializer,
    MeSerializer,
    NewKeySerializer,
    NotificationFilterSerializer,
    NotificationSerializer,
    OrganisationSerializer,
    PreferenceSerializer,
)
from accounts.views.keys import keys_of

Permissions = dict[str, Permission | None]


def valid(serializer: Any) -> dict[str, Any]:
    """The serializer's data, or a problem that names the field."""
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def memberships_of(actor: Actor) -> Any:
    """The caller's memberships: through a key only that of the key's organisation."""
    rows = Membership.objects.filter(user=actor.user)
    return rows.filter(organisation=actor.organisation) if actor.api_key is not None else rows


class MeView(APIView):
    """Who am I, and what may I do?"""

    permissions: ClassVar[Permissions] = {"read": None}
    serializer_class = MeSerializer

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """The caller, their organisation, and what they (through this key) may do."""
        actor = actor_of(request)
        user = services.person(actor)
        me = {
            "email": user.email,
            "full_name": user.full_name,
            "language": user.language,
            "organisation": actor.organisation,
            "role": actor.role,
            "permissions": sorted(actor.permissions),
            "key": actor.api_key,
        }
        return Response(MeSerializer(me).data)


class OrganisationsView(generics.ListAPIView[Organisation]):
    """The caller's organisations."""

    permissions: ClassVar[Permissions] = {"read": None, "write": Permission.MANAGE_ORGANISATION}
    serializer_class = OrganisationSerializer
    ordering = "-created_at"

    def get_queryset(self) -> Any:
        return Organisation.objects.filter(pk__in=memberships_of(actor_of(self.request)).values("organisation"))

    def get_serializer_context(self) -> dict[str, Any]:
        roles = dict(memberships_of(actor_of(self.request)).values_list("organisation", "role"))
        return {**super().get_serializer_context(), "roles": roles}

    @extend_schema(request=OrganisationSerializer, responses={201: OrganisationSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """A new organisation, of which the caller becomes administrator. This key stays with its own organisation."""
        data = valid(self.get_serializer(data=request.data))
        organisation = services.create_organisation(actor=actor_of(request), name=data["name"])
        return Response(self.get_serializer(organisation).data, status=201)


class MembersView(generics.ListAPIView[Membership]):
    """Who belongs to an organisation of the caller's."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_MEMBERS}
    serializer_class = MemberSerializer
    ordering = "-created_at"

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Membership.objects.none()
        organisation: UUID = self.kwargs["organisation_id"]
        mine = get_object_or_404(memberships_of(actor_of(self.request)), organisation=organisation)
        return Membership.objects.filter(organisation=mine.organisation_id).select_related("user")


class NotificationsView(generics.ListAPIView[Notification]):
    """What the caller was told."""

    permissions: ClassVar[Permissions] = {"read": None}
    serializer_class = NotificationSerializer

    def get_queryset(self) -> Any:
        actor = actor_of(self.request)
        rows = Notification.objects.for_organisation(actor.organisation).filter(user=actor.user)
        unread = valid(NotificationFilterSerializer(data=self.request.query_params))["unread"]
        return rows.filter(read_at=None) if unread else rows

    @extend_schema(parameters=[NotificationFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The caller's notifications in this organisation, newest first."""
        return super().get(request, *args, **kwargs)


class NotificationReadView(APIView):
    """Mark a notification as read."""

    permissions: ClassVar[Permissions] = {"write": None}
    serializer_class = NotificationSerializer

    @extend_schema(request=None, responses=NotificationSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Mark one of the caller's notifications as read; repeating it changes nothing."""
        actor = actor_of(request)
        rows = Notification.objects.for_organisation(actor.organisation).filter(user=actor.user)
        row = get_object_or_404(rows, pk=pk)
        services.mark_read(actor=actor, notification=row)
        row.refresh_from_db()
        return Response(NotificationSerializer(row).data)


class KeysView(generics.ListAPIView[ApiKey]):
    """The caller's API keys (an administrator's: all of the organisation)."""

    permissions: ClassVar[Permissions] = {"read": Permission.MANAGE_KEYS, "write": Permission.MANAGE_KEYS}
    serializer_class = KeySerializer
    never_stored = ("key",)

    def get_queryset(self) -> Any:
        return keys_of(actor_of(self.request))

    @extend_schema(request=KeyCreateSerializer, responses={201: NewKeySerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """A new key. Its text is in this answer only. It can do no more, and lives no longer, than the key that asks."""
        data = valid(KeyCreateSerializer(data=request.data))
        key, plain = services.create_key(actor=actor_of(request), **data)
        return Response(NewKeySerializer(key, context={"plain": plain}).data, status=201, headers={"Cache-Control": "no-store"})


class KeyRevokeView(APIView):
    """Make a key useless."""

    permissions: ClassVar[Permissions] = {"write": Permission.MANAGE_KEYS}
    serializer_class = KeySerializer

    @extend_schema(request=None, responses=KeySerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Revoke a key at once; repeating it changes nothing."""
        actor = actor_of(request)
        key = get_object_or_404(keys_of(actor), pk=pk)
        services.revoke_key(actor=actor, key=key)
        key.refresh_from_db()
        return Response(KeySerializer(key).data)


class PreferencesView(APIView):
    """What matters to the caller."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_MODELS, "write": Permission.VIEW_MODELS}
    serializer_class = PreferenceSerializer

    @extend_schema(responses=PreferenceSerializer)
    def get(self, request: Request) -> Response:
        """The caller's outcome, weights and floors in this organisation; the defaults before any are saved."""
        actor = actor_of(request)
        row = Preference.objects.for_organisation(actor.organisation).filter(user=actor.user).first()
        return Response(PreferenceSerializer(row or Preference(weights=choices.default_weights())).data)

    @extend_schema(request=PreferenceSerializer, responses=PreferenceSerializer)
    def put(self, request: Request) -> Response:
        """Replace them; the recommendation is made again."""
        data = valid(PreferenceSerializer(data=request.data))
        row = services.save_preference(actor=actor_of(request), **data)
        return Response(PreferenceSerializer(row).data)


class AuditEventsView(generics.ListAPIView[AuditEvent]):
    """The audit log."""

    permissions: ClassVar[Permissions] = {"read": Permission.VIEW_AUDIT}
    serializer_class = AuditEventSerializer
    ordering = "-pk"

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return AuditEvent.objects.none()
        return filtered(actor_of(self.request).organisation, **valid(AuditFilterSerializer(data=self.request.query_params)))

    @extend_schema(parameters=[AuditFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The organisation's events, newest first."""
        return super().get(request, *args, **kwargs)
