"""Cursor pagination: pages stay quick and stable however many rows there are."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError
from rest_framework import pagination
from rest_framework.exceptions import NotFound


class CursorPagination(pagination.CursorPagination):
    """`?cursor=…&page_size=…` (at most 200); newest first unless the view's `ordering` says otherwise."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = ("-created_at", "-pk")

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        """The view's own ordering, when it has one. The key comes last, so that the order is complete."""
        ordering = getattr(view, "ordering", None) or self.ordering
        names = (ordering,) if isinstance(ordering, str) else tuple(ordering)
        return names if names[-1].lstrip("-") == "pk" else (*names, "-pk")

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        """A cursor that nobody was given (a date that is none, a number beyond all) is not found, never an error."""
        try:
            return super().paginate_queryset(queryset, request, view=view)
        except (ValueError, TypeError, OverflowError, ValidationError, DatabaseError) as error:
            if self.cursor_query_param in request.query_params:
                raise NotFound(self.invalid_cursor_message) from error
            raise
