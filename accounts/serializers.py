"""The JSON of accounts' REST resources."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import ApiKey, AuditEvent, Membership, Notification, Organisation, Preference
from accounts.permissions import ROLES, Permission
from accounts.services import KEY_DAYS_MAXIMUM

SCOPES = [(permission.value, permission.value) for permission in Permission]
KEY_STATES = [(state, state) for state in ("active", "expired", "revoked")]
ROLE_CHOICES = [(role, role) for role in ROLES]


class OrganisationSerializer(serializers.ModelSerializer[Organisation]):
    """An organisation, with the caller's role in it."""

    role = serializers.SerializerMethodField()

    class Meta:
        model = Organisation
        fields = ["id", "name", "role", "created_at"]
        read_only_fields = ["id", "role", "created_at"]

    @extend_schema_field(serializers.ChoiceField(choices=ROLE_CHOICES))
    def get_role(self, organisation: Organisation) -> str:
        roles: dict[Any, str] = self.context["roles"]
        return roles.get(organisation.pk, "administrator")


class OrganisationBriefSerializer(serializers.ModelSerializer[Organisation]):
    """An organisation's identity."""

    class Meta:
        model = Organisation
        fields = ["id", "name"]


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its text."""

    owner = serializers.EmailField(source="user.email", read_only=True)
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
    state = serializers.ChoiceField(choices=KEY_STATES, read_only=True)

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "owner", "scopes", "state", "created_at", "expires_at", "last_used_at", "revoked_at"]
        read_only_fields = fields


class KeyCreateSerializer(serializers.Serializer[Any]):
    """What a new key should be."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPES), allow_empty=False, max_length=len(Permission),
        help_text="What the key may do: at most what your role and, through a key, that key allow.",
    )  # fmt: skip
    days = serializers.IntegerField(min_value=1, max_value=KEY_DAYS_MAXIMUM, default=90, help_text="How long it is valid.")


class NewKeySerializer(KeySerializer):
    """A key with its text: only in the answer that creates it; a repeat by Idempotency-Key has it empty."""

    key = serializers.SerializerMethodField()

    class Meta(KeySerializer.Meta):
        fields = [*KeySerializer.Meta.fields, "key"]
        read_only_fields = fields

    def get_key(self, row: ApiKey) -> str:
        return str(self.context.get("plain", ""))


class MeSerializer(serializers.Serializer[Any]):
    """Who is asking, for which organisation, with which permissions."""

    email = serializers.EmailField()
    full_name = serializers.CharField(allow_blank=True)
    language = serializers.CharField(allow_blank=True)
    organisation = OrganisationBriefSerializer()
    role = serializers.ChoiceField(choices=ROLE_CHOICES)
    permissions = serializers.ListField(child=serializers.CharField())
    key = KeySerializer(allow_null=True)


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """A person in the organisation."""

    email = serializers.EmailField(source="user.email", read_only=True)
    full_name = serializers.CharField(source="user.full_name", read_only=True)
    role = serializers.ChoiceField(choices=ROLE_CHOICES, read_only=True)

    class Meta:
        model = Membership
        fields = ["id", "email", "full_name", "role", "created_at"]
        read_only_fields = fields


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    """A message to the caller."""

    class Meta:
        model = Notification
        fields = ["id", "level", "title", "body", "url", "created_at", "read_at"]
        read_only_fields = fields


class PreferenceSerializer(serializers.ModelSerializer[Preference]):
    """What matters to the caller in this organisation; before anything is saved, the defaults."""

    outcome = serializers.CharField(max_length=200)
    weights = serializers.DictField(
        child=serializers.FloatField(), allow_empty=False, help_text="Metric name → weight from 0 to 10; at least one above 0."
    )
    floors = serializers.DictField(
        child=serializers.FloatField(), required=False, help_text="Metric name → least (for errors: largest) value."
    )
    email_notifications = serializers.BooleanField(default=True)
    updated_at = serializers.DateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = Preference
        fields = ["outcome", "weights", "floors", "email_notifications", "updated_at"]


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    """One event of the audit log."""

    actor = serializers.CharField(source="actor_label", read_only=True)
    detail = serializers.DictField(read_only=True)

    class Meta:
        model = AuditEvent
        fields = [
            "id", "at", "actor", "action", "object_type", "object_id", "object_label", "outcome", "ip", "user_agent", "detail",
        ]  # fmt: skip
        read_only_fields = fields


class AuditFilterSerializer(serializers.Serializer[Any]):
    """The filters of the audit log, from the query string."""

    person = serializers.CharField(required=False, max_length=254, help_text="The beginning of the person's e-mail address.")
    action = serializers.CharField(required=False, max_length=60, help_text="The beginning of the action: “record.”")
    object_type = serializers.CharField(required=False, max_length=60)
    object_id = serializers.CharField(required=False, max_length=64)
    outcome = serializers.ChoiceField(required=False, choices=["ok", "denied", "failed"])
    since = serializers.DateField(required=False, help_text="The first day.")
    until = serializers.DateField(required=False, help_text="The last day, included.")


class NotificationFilterSerializer(serializers.Serializer[Any]):
    """The filter of the notifications, from the query string."""

    unread = serializers.BooleanField(required=False, default=False, help_text="Only those not read yet.")
