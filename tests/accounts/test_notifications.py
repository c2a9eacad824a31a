"""Notifications: told once, by e-mail as well, in the reader's language; read one by one or all."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts import services
from accounts.models import Notification
from accounts.notifications import notify, send_email
from accounts.tasks import send_waiting_emails
from tests.conftest import actor


@pytest.fixture
def tell(organisation, django_capture_on_commit_callbacks):
    def make(*users, key="run-1", **extra):
        with django_capture_on_commit_callbacks(execute=True):
            return notify(organisation=organisation, users=users, key=key, title="Training finished", **extra)

    return make


def test_it_is_sent_once_however_often_it_is_told(tell, bob, mailoutbox):
    assert tell(bob, body="Look at it.", url="/models/") == 1
    assert tell(bob) == 0
    assert len(mailoutbox) == 1 and mailoutbox[0].to == ["bob@example.org"]
    assert mailoutbox[0].subject == "[AI Mass] Training finished"
    assert "Look at it." in mailoutbox[0].body and "http://127.0.0.1:8000/models/" in mailoutbox[0].body


def test_who_wants_no_e_mail_gets_none(tell, bob, mailoutbox):
    services.save_preference(
        actor=actor(bob), outcome="stroke", weights={"sensitivity": 1}, email_notifications=False
    )
    assert tell(bob) == 1
    assert mailoutbox == [] and Notification.objects.get().emailed_at is None


def test_a_broken_mail_server_breaks_nothing_and_may_be_tried_again(tell, bob, settings, mailoutbox):
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    tell(bob)
    row = Notification.objects.get()
    assert row.emailed_at is None
    settings.EMAIL_BACKEND = working
    send_email(row.pk)
    send_email(row.pk)
    assert len(mailoutbox) == 1


def test_unsent_e_mail_is_sent_later_and_once(tell, alice, bob, mailoutbox):
    services.save_preference(
        actor=actor(alice), outcome="stroke", weights={"sensitivity": 1}, email_notifications=False
    )
    tell(alice, bob)
    mailoutbox.clear()  # as if the process had died before it could send
    Notification.objects.update(emailed_at=None)
    assert send_waiting_emails() == 0  # it may be on its way just now
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=6))
    assert (send_waiting_emails(), send_waiting_emails()) == (1, 0)
    assert [mail.to for mail in mailoutbox] == [["bob@example.org"]]
    Notification.objects.update(emailed_at=None, created_at=timezone.now() - timedelta(days=2))
    assert send_waiting_emails() == 0


def test_who_has_left_is_told_nothing_more(tell, alice, bob, charlie, mailoutbox):
    """The e-mail of a training that ends after its requester was removed would tell an outsider of a data set."""
    services.remove_member(actor=actor(alice), membership=bob.memberships.get())
    assert tell(bob, charlie, alice) == 1
    assert [mail.to for mail in mailoutbox] == [["alice@example.org"]]
    assert Notification.objects.get().user == alice


def test_it_speaks_each_readers_language(organisation, bob, dana):
    bob.language = "zh-hans"
    month = gettext_lazy("May")
    notify(organisation=organisation, users=[bob, dana], key="a", title=gettext_lazy("Monday"), body=lambda: str(month))
    assert Notification.objects.get(user=dana).title == "Monday"
    assert Notification.objects.get(user=bob).title == "星期一"
    assert Notification.objects.get(user=bob).body == "五月"


def test_a_title_with_line_breaks_makes_no_mail_headers(organisation, bob, mailoutbox, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        notify(organisation=organisation, users=[bob], key="a", title="Done\nBcc: spy@example.org")
    assert mailoutbox[0].subject == "[AI Mass] Done Bcc: spy@example.org"


class TestPage:
    url = "/notifications/"

    def test_it_works(self, client_of, tell, bob):
        tell(bob, url="/models/")
        client = client_of(bob)
        page = client.get(self.url).content.decode()
        assert "Training finished" in page and "1 unread" in page
        response = client.post(reverse("accounts:notification_read", args=[Notification.objects.get().pk]), {"open": "1"})
        assert response["Location"] == "/models/"
        assert "unread" not in client.get(self.url).content.decode()

    def test_looking_reads_nothing(self, client_of, tell, bob):
        tell(bob)
        client_of(bob).get(self.url)
        assert Notification.objects.get().read_at is None

    def test_all_at_once_but_only_ones_own(self, client_of, tell, bob, dana):
        for number in range(3):
            tell(bob, dana, key=str(number))
        client_of(bob).post(reverse("accounts:notifications_read_all"))
        assert not Notification.objects.filter(user=bob, read_at=None).exists()
        assert Notification.objects.filter(user=dana, read_at=None).count() == 3

    def test_an_address_outside_is_not_followed(self, client_of, tell, bob):
        tell(bob, url="https://evil.example/")
        response = client_of(bob).post(reverse("accounts:notification_read", args=[Notification.objects.get().pk]), {"open": "1"})
        assert response["Location"] == self.url

    @pytest.mark.parametrize("person", ["dana", "charlie"])
    def test_outsider_gets_404(self, client_of, tell, bob, request, person):
        tell(bob)
        url = reverse("accounts:notification_read", args=[Notification.objects.get().pk])
        assert client_of(request.getfixturevalue(person)).post(url).status_code == 404
        assert Notification.objects.get().read_at is None

    def test_pages(self, client_of, organisation, bob, django_assert_max_num_queries):
        Notification.objects.bulk_create(
            Notification(organisation=organisation, user=bob, key=str(n), title=f"Message {n:03d}.") for n in range(120)
        )
        client = client_of(bob)
        with django_assert_max_num_queries(7):
            first = client.get(self.url)
        assert "Message 119." in first.content.decode() and "Message 069." not in first.content.decode()
        second = client.get(first.context["page"].next_url)
        assert "Message 069." in second.content.decode()
        third = client.get(second.context["page"].next_url)
        assert "Message 000." in third.content.decode() and third.context["page"].next_url == ""
        back = client.get(third.context["page"].previous_url)
        assert [n.title for n in back.context["page"].rows] == [n.title for n in second.context["page"].rows]

    @pytest.mark.parametrize("value", ["x", "-1", "9" * 30, "\0", "１"])
    def test_a_junk_position_is_400(self, client_of, bob, value):
        assert client_of(bob).get(self.url, {"before": value}).status_code == 400
