"""Second-factor secrets are unreadable in the database and still work."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.conf import settings

from accounts.mfa import MFAAdapter

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXP"


def test_the_stored_secret_is_encrypted_and_validates_codes(alice: Any) -> None:
    totp.TOTP.activate(alice, SECRET)
    row = Authenticator.objects.get(user=alice, type=Authenticator.Type.TOTP)
    assert SECRET not in str(row.data)
    counter = next(iter(totp.yield_hotp_counters_from_time()))
    code = totp.format_hotp_value(totp.hotp_value(SECRET, counter))
    assert row.wrap().validate_code(code)
    assert not totp.TOTP(row).validate_code("000000" if code != "000000" else "111111")


def test_a_changed_key_reads_older_secrets_by_the_fallback(settings: Any) -> None:
    stored = MFAAdapter().encrypt(SECRET)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-of-the-installation-0123456789"
    assert MFAAdapter().decrypt(stored) == SECRET
    settings.SECRET_KEY_FALLBACKS = []
    assert MFAAdapter().decrypt(stored) == ""


def test_a_secret_from_before_is_still_read() -> None:
    assert settings.MFA_ADAPTER == "accounts.mfa.MFAAdapter"
    assert MFAAdapter().decrypt(SECRET) == SECRET
