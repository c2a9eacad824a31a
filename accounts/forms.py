"""What people fill in: organisations, invitations, roles, keys, profile."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.actor import Actor
from accounts.models import Organisation, User
from accounts.permissions import ROLES, Permission

KEY_DAYS = [
    (7, _("7 days")),
    (30, _("30 days")),
    (90, _("90 days")),
    (180, _("180 days")),
    (365, _("1 year (the longest)")),
]


class OrganisationForm(forms.ModelForm):  # type: ignore[type-arg]
    """An organisation's name."""

    class Meta:
        model = Organisation
        fields = ["name"]
        labels = {"name": _("Name of the organisation")}
        help_texts = {"name": _("A hospital, a practice, a laboratory. Its data is visible to its members only.")}


def role_choices() -> list[tuple[str, Any]]:
    """Each role with its description in plain words."""
    return [(role.name, mark_described(role.label, role.description)) for role in ROLES.values()]


def mark_described(label: Any, description: Any) -> Any:
    """A choice's label with a line below it; escaped like any other text."""
    return format_html("<strong>{}</strong> <span class='text-muted'>{}</span>", label, description)


class RoleForm(forms.Form):
    """Which role somebody gets."""

    role = forms.ChoiceField(label=_("Role"), choices=role_choices, widget=forms.RadioSelect)


class InviteForm(RoleForm):
    """Whom to invite, and as what."""

    email = forms.EmailField(label=_("E-mail address"), max_length=254)
    field_order = ["email", "role"]


class KeyForm(forms.Form):
    """A new API key: its name, what it may do (never more than its owner), and how long it lives."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("Where it will be used: “Laboratory system”."))
    scopes = forms.MultipleChoiceField(label=_("What it may do"), widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(label=_("Valid for"), choices=KEY_DAYS, coerce=int, initial=90)

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes = [(p.value, mark_described(p.value, p.label)) for p in Permission if actor.may(p)]
        self.fields["scopes"].choices = scopes  # type: ignore[attr-defined]


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """A person's name and language."""

    language = forms.ChoiceField(
        label=_("Language"),
        required=False,
        choices=lambda: [("", _("As the browser asks")), *settings.LANGUAGES],
        help_text=_("Used in the portal and in e-mails to you."),
    )

    class Meta:
        model = User
        fields = ["full_name", "language"]
        labels = {"full_name": _("Your name")}


class AuditFilterForm(forms.Form):
    """Which events the auditor wants to see."""

    person = forms.CharField(label=_("Person (e-mail)"), required=False, max_length=254)
    action = forms.CharField(label=_("Action"), required=False, max_length=60, help_text=_("Its beginning: “record.”"))
    object_type = forms.CharField(label=_("Kind of object"), required=False, max_length=60)
    object_id = forms.CharField(label=_("Object's identifier"), required=False, max_length=64)
    outcome = forms.ChoiceField(
        label=_("Outcome"),
        required=False,
        choices=[("", _("All")), ("ok", _("Done")), ("denied", _("Denied")), ("failed", _("Failed"))],
    )
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    until = forms.DateField(
        label=_("To (including)"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
