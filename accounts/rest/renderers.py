"""JSON out; problems as application/problem+json."""

from collections.abc import Mapping
from typing import Any

from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """DRF's, which keeps the content type that the response asks for."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None) -> Any:
        return super().render(data, accepted_media_type, renderer_context)
