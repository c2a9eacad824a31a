"""What training does when others change something: recommendations are made again."""

from typing import Any

from accounts.models import Membership, Organisation, User
from training.models import Model, ModelVersion


def on_preferences_changed(sender: Any, *, organisation: Organisation, user: User, **_kwargs: Any) -> None:
    """A person chose anew what matters."""
    from training.recommendation import recommend

    if Membership.objects.filter(organisation=organisation, user=user).exists():
        recommend(organisation=organisation, user=user)


def on_version_created(sender: Any, *, version: ModelVersion, **_kwargs: Any) -> None:
    """A version arrived: what its own organisation is recommended may change (others see champions only)."""
    from training.recommendation import remake_for

    remake_for([version.model.organisation_id])


def on_model_changed(sender: Any, *, model: Model, **_kwargs: Any) -> None:
    """A champion or a publication changed: the recommendations of all who see the model, or saw it, are made again."""
    from training.recommendation import remake_for

    remake_for(None)
