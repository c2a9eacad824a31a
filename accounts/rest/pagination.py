"""Cursor pagination: pages stay quick and stable however many rows there are."""

from rest_framework import pagination


class CursorPagination(pagination.CursorPagination):
    """`?cursor=…&page_size=…` (at most 200); newest first unless a view says otherwise."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = "-created_at"
