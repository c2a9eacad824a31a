"""The app's registration with Django."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        from accounts import receivers  # noqa: F401 - importing connects them
        from accounts.append_only import after_migrate

        post_migrate.connect(after_migrate, sender=self, dispatch_uid="accounts.append_only")
