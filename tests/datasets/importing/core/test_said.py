"""The test of a connection is read in the reader's language, whoever asked for it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils.translation import override

from datasets.importing import said
from datasets.importing.models import Importer
from tests.datasets.importing.core.conftest import Drop, Run


def test_sentences_are_said_again_with_what_was_put_into_them() -> None:
    with override("en"):
        inner = said.gettext("The file is empty. Export it again.")
        text = said.gettext("row %(number)s of its piece") % {"number": 7}
        many = said.ngettext("%(count)d series has arrived that fits.", "%(count)d series have arrived that fit.", 2)
        many = many % {"count": 2}
        nested = said.gettext("“%(name)s”: %(why)s") % {"name": "a.csv", "why": inner}
        assert (text, str(many)) == ("row 7 of its piece", "2 series have arrived that fit.")
        kept = [said.kept(one) for one in (text, many, nested, f"<{text}>", 5)]
        assert [said.spoken(one) for one in kept] == [text, many, nested, "<row 7 of its piece>", "5"]
    with override("zh-hans"):
        spoken = [said.spoken(one) for one in kept]
        assert spoken[0] != text and "7" in spoken[0] and "2" in spoken[1] and "series" not in spoken[1]
        assert "a.csv" in spoken[2] and "Export" not in spoken[2]
        assert said.spoken({"sentence": ["%(gone)s"], "values": {"count": 1}, "text": "as it was"}) == "as it was"


@pytest.mark.django_db
def test_each_reader_has_the_test_of_a_connection_in_their_language(
    drop: Drop, of_folder: Callable[..., Importer], alice: Any, client_of: Any, api_of: Any, run_jobs: Run
) -> None:
    drop.put("note.txt", "seen on Monday\n")
    row = of_folder()
    run_jobs()
    row.refresh_from_db()
    english = row.look["found"]
    page = client_of(alice).get(f"/datasets/importers/{row.pk}/look/").content.decode()
    assert row.look["state"] == "found" and english in page
    drop.folder.rename(drop.folder.with_name("elsewhere"))
    broken = of_folder(name="Broken")
    run_jobs()
    broken.refresh_from_db()
    assert broken.look["state"] == "failed"
    alice.language = "zh-hans"
    alice.save()
    client, api = client_of(alice), api_of(alice)
    for one in (row, broken):
        told = api.get(f"/api/v1/importers/{one.pk}/preview/", HTTP_ACCEPT_LANGUAGE="zh-hans").json()
        page = client.get(f"/datasets/importers/{one.pk}/look/").content.decode()
        kept = said.kept(one.look["found"] if one is row else one.look["text"])
        assert kept not in page
        with override("zh-hans"):
            expected = said.found(one.look)
        text = expected["found"] or expected["text"]
        assert text != kept and text.split("“")[0][:8] in page and told["found" if one is row else "text"] in (text, kept)
