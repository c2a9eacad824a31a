"""What matters to the person: the page after registration and the same page later."""

import pytest
from django.urls import NoReverseMatch, reverse

from accounts.models import Preference

GOOD = {
    "outcome_choice": "heart disease",
    "weight_sensitivity": "3",
    "weight_specificity": "1.5",
    "floor_sensitivity": "0.95",
    "email_notifications": "on",
}


def after():
    try:
        return reverse("training:recommendation")
    except NoReverseMatch:
        return reverse("home")


@pytest.mark.parametrize("url", ["/welcome/", "/preferences/"])
class TestBothPages:
    def test_it_works(self, client_of, bob, organisation, url):
        response = client_of(bob).post(url, GOOD)
        assert response["Location"] == after()
        row = Preference.objects.get(user=bob, organisation=organisation)
        assert row.outcome == "heart disease" and row.email_notifications
        assert row.weights == {"sensitivity": 3.0, "specificity": 1.5} and row.floors == {"sensitivity": 0.95}

    def test_it_explains_each_metric_and_starts_with_defaults(self, client_of, bob, url):
        page = client_of(bob).get(url).content.decode()
        assert "Share found." in page and "Heart disease" in page
        assert 'name="weight_sensitivity" value="3"' in page

    def test_own_words(self, client_of, bob, url):
        client_of(bob).post(url, GOOD | {"outcome_choice": "__other__", "outcome_words": " sepsis  within a day "})
        assert Preference.objects.get(user=bob).outcome == "sepsis within a day"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"outcome_choice": ""}, "Choose an outcome, or name it in your own words."),
            ({"outcome_choice": "__other__", "outcome_words": " "}, "Choose an outcome, or name it in your own words."),
            ({"outcome_choice": "gout"}, "Select a valid choice"),
            ({"weight_sensitivity": "0", "weight_specificity": ""}, "Give at least one metric a weight above 0."),
            ({"weight_sensitivity": "11"}, "less than or equal to 10"),
            ({"weight_sensitivity": "much"}, "Enter a number."),
            ({"weight_sensitivity": "nan"}, "Enter a number."),
            ({"floor_sensitivity": "1.2"}, "less than or equal to 1"),
            ({"floor_mae": "-3"}, "greater than or equal to 0"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_saved(self, client_of, bob, url, change, message):
        response = client_of(bob).post(url, GOOD | change)
        assert response.status_code == 200 and message in response.content.decode()
        assert not Preference.objects.exists()

    def test_nobody_signs_in_first(self, client, db, url):
        assert client.get(url)["Location"].startswith("/accounts/login/")


def test_what_was_saved_is_shown_again(client_of, bob):
    client = client_of(bob)
    client.post("/preferences/", {"outcome_choice": "__other__", "outcome_words": "sepsis", "weight_mae": "7"})
    page = client.get("/preferences/").content.decode()
    assert 'value="sepsis"' in page and 'name="weight_mae" value="7"' in page
    assert 'name="weight_sensitivity" value="0"' in page


def test_each_organisation_has_its_own(client_of, bob, charlie):
    client_of(bob).post("/preferences/", GOOD)
    assert 'value="0.95"' not in client_of(charlie).get("/preferences/").content.decode()


def test_without_any_source_own_words_still_work_but_metrics_are_needed(client_of, bob, settings):
    settings.OUTCOME_SOURCE = ""
    assert 'value="__other__" selected' in client_of(bob).get("/welcome/").content.decode()
