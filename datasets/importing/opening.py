"""From an importer to its source, closed at the end whatever happens."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django import forms

from datasets.importing.base import Source, SourceError
from datasets.importing.models import Importer
from datasets.importing.network import Network
from datasets.importing.said import gettext as _


def kinds() -> dict[str, type[Source]]:
    """All kinds of sources. Imported only now: each brings a library of its own."""
    from datasets.importing.sources import source_classes

    return {source.kind: source for source in source_classes()}


def kind_of(name: str) -> type[Source]:
    """Raises SourceError for a kind that this installation doesn't have."""
    from datasets.importing.sources import source_class

    try:
        return source_class(name)
    except KeyError:
        text = _("This installation has no importer of kind “%(kind)s”.") % {"kind": name[:20]}
        raise SourceError("unknown_kind", text) from None


@contextmanager
def opened(importer: Importer) -> Iterator[Source]:
    """The importer's source with its secrets. Raises SourceError."""
    kind = kind_of(importer.kind)
    secrets = importer.secrets
    if importer.secret and not secrets:
        text = _("The saved password can't be read any more, as the server's key was changed. Enter it again in the settings.")
        raise SourceError("secret_lost", text)
    source = kind(settings_of(importer, secrets), Network.of(importer.organisation))
    try:
        yield source
    finally:
        source.close()


def settings_of(importer: Importer, secrets: dict[str, Any]) -> dict[str, Any]:
    """What the source's form held."""
    return {**importer.settings, **secrets}


def form_of(source: type[Source], organisation: Any, data: Mapping[str, Any] | None = None, **more: Any) -> forms.Form:
    """The source's form, which knows as `network` what the organisation may reach."""
    form = source.Form(data, **more)
    form.network = Network.of(organisation)  # type: ignore[attr-defined]  # forms of files look for it
    return form
