"""The REST resources of this app, under /api/v1/."""

from django.urls import path

from accounts import api

urlpatterns = [
    path("me/", api.MeView.as_view(), name="me"),
    path("organisations/", api.OrganisationsView.as_view(), name="organisations"),
    path("organisations/<uuid:organisation_id>/members/", api.MembersView.as_view(), name="members"),
    path("notifications/", api.NotificationsView.as_view(), name="notifications"),
    path("notifications/<int:pk>/read/", api.NotificationReadView.as_view(), name="notification_read"),
    path("keys/", api.KeysView.as_view(), name="keys"),
    path("keys/<int:pk>/revoke/", api.KeyRevokeView.as_view(), name="key_revoke"),
    path("preferences/", api.PreferencesView.as_view(), name="preferences"),
    path("audit-events/", api.AuditEventsView.as_view(), name="audit_events"),
]
