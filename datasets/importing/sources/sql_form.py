"""What a person fills in of a database."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import ArgumentError

from datasets.importing.network import valid_host
from datasets.importing.sources import overlap
from datasets.importing.sources.sql_mysql import MySQL
from datasets.importing.sources.sql_postgresql import PostgreSQL
from datasets.importing.sources.sql_servers import AFTER, UPTO, Server

SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}


class SqlForm(overlap.NumbersForm):
    """What a person fills in."""

    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        help_text=gettext_lazy(
            "A SQLAlchemy address without the password, such as postgresql://reader@db.hospital.example:5432/warehouse. "
            "Use a user who may only read."
        ),
    )
    password = forms.CharField(
        label=gettext_lazy("Password"), widget=forms.PasswordInput, required=False, max_length=500
    )
    tls = forms.ChoiceField(
        label=gettext_lazy("Encryption"),
        initial="checked",
        choices=[
            ("checked", gettext_lazy("encrypted, with the server's certificate checked")),
            ("encrypted", gettext_lazy("encrypted, whoever the server is")),
            ("off", gettext_lazy("not encrypted")),
        ],
    )
    query = forms.CharField(
        label=gettext_lazy("Query"),
        widget=forms.Textarea,
        max_length=20_000,
        help_text=gettext_lazy("One SELECT. It runs in a transaction that can't write."),
    )
    cursor_column = forms.CharField(
        label=gettext_lazy("Cursor column"),
        required=False,
        max_length=128,
        help_text=gettext_lazy(
            "A column of the query whose value grows with each new or changed row: a number, a date or a time. Only rows from "
            "a little before its last value on are read (the overlap). "
            "Empty: all rows are read each time, and known ones are left out."
        ),
    )

    field_order = ("address", "password", "tls", "query", "cursor_column", "overlap_minutes", "overlap_numbers")

    def clean_address(self) -> str:
        given = self.cleaned_data["address"].strip()
        try:
            url = make_url(given)
        except (ArgumentError, ValueError):
            raise forms.ValidationError(_("This is no SQLAlchemy address.")) from None
        kind, _sign, driver = url.drivername.partition("+")
        if kind not in SERVERS or driver not in {"", SERVERS[kind].driver.partition("+")[2]}:
            raise forms.ValidationError(_("Only postgresql://, mysql:// and mariadb:// can be read."))
        if url.password:
            raise forms.ValidationError(
                _("Leave the password out of the address and enter it below, where it is kept encrypted.")
            )
        if url.query:
            raise forms.ValidationError(_("Leave out everything from the question mark on."))
        if not (url.host and url.username and url.database) or not valid_host(url.host):
            raise forms.ValidationError(_("The address needs a user, one host and a database."))
        return str(given)

    def clean_query(self) -> str:
        query = str(self.cleaned_data["query"]).strip().rstrip(";").strip()
        if AFTER in query or UPTO in query or "\0" in query:
            raise forms.ValidationError(_("The query must be one SELECT that only reads."))
        return query
