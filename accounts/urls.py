"""The portal's pages of this app."""

from django.urls import path

from accounts.views import audit, keys, members, notifications, organisations, preferences, profile

app_name = "accounts"
urlpatterns = [
    path("organisations/new/", organisations.create, name="organisation_create"),
    path("organisations/switch/", organisations.switch, name="switch"),
    path("organisation/", organisations.settings, name="organisation"),
    path("invitations/<str:token>/", organisations.invitation, name="invitation"),
    path("invitations/<int:pk>/accept/", organisations.accept, name="invitation_accept"),
    path("invitations/<int:pk>/revoke/", organisations.revoke_invitation, name="invitation_revoke"),
    path("members/", members.members, name="members"),
    path("members/invite/", members.invite, name="invite"),
    path("members/<int:pk>/role/", members.role, name="member_role"),
    path("members/<int:pk>/remove/", members.remove, name="member_remove"),
    path("welcome/", preferences.welcome, name="welcome"),
    path("preferences/", preferences.preferences, name="preferences"),
    path("notifications/", notifications.notifications, name="notifications"),
    path("notifications/read/", notifications.read_all, name="notifications_read_all"),
    path("notifications/<int:pk>/read/", notifications.read, name="notification_read"),
    path("keys/", keys.keys, name="keys"),
    path("keys/new/", keys.create, name="key_create"),
    path("keys/<int:pk>/revoke/", keys.revoke, name="key_revoke"),
    path("profile/", profile.profile, name="profile"),
    path("audit/", audit.audit, name="audit"),
    path("audit/export/", audit.export, name="audit_export"),
]
