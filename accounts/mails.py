"""E-mails that are not notifications, because their reader may not have an account yet."""

import logging

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from accounts.models import Invitation, User

logger = logging.getLogger(__name__)


def send_invitation(invitation: Invitation, token: str) -> None:
    """E-mail the link; in the invited person's language when they have an account, else in the inviter's."""
    known = User.objects.filter(email__iexact=invitation.email).first()
    inviter = invitation.invited_by
    language = (known and known.language) or (inviter and inviter.language) or settings.LANGUAGE_CODE
    context = {
        "invitation": invitation,
        "inviter": inviter,
        "url": settings.PORTAL_URL + reverse("accounts:invitation", args=[token]),
    }
    with override(language):
        name = " ".join(invitation.organisation.name.split())
        subject = _("You are invited to %(organisation)s on AI Mass") % {"organisation": name}
        body = render_to_string("accounts/email/invitation.txt", context)
        try:
            send_mail(settings.ACCOUNT_EMAIL_SUBJECT_PREFIX + subject, body, None, [invitation.email])
        except OSError:
            logger.exception("The e-mail of invitation %s could not be sent", invitation.pk)
