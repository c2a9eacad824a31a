"""Room on a data set's page for the apps above: each registers the dotted name of a function that draws a panel."""

from collections.abc import Callable

from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString

from datasets.models import Dataset

Panel = Callable[[HttpRequest, Dataset], SafeString | str]
_NAMES: list[str] = []


def register(dotted_name: str) -> None:
    """`register("training.panels.dataset_panel")` in the app's ready(): `(request, dataset) -> html`, "" for nothing."""
    if dotted_name not in _NAMES:
        _NAMES.append(dotted_name)


def names() -> tuple[str, ...]:
    """All registered dotted names, for the test that resolves each."""
    return tuple(_NAMES)


def draw(request: HttpRequest, dataset: Dataset) -> list[str]:
    """The panels of the apps above, in the order of their registration, without empty ones."""
    drawn = (import_string(name)(request, dataset) for name in _NAMES)
    return [html for html in drawn if html]
