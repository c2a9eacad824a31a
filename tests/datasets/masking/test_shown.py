"""Stored texts as pages show them, the words that are also names, and what stays of an upload."""

import re

from datasets.importers.after import without_rows
from datasets.masking import usual
from datasets.masking.texts import mask
from datasets.templatetags.masking import masked_parts


def test_tokens_are_marked_and_nothing_else_is_markup() -> None:
    shown = masked_parts("<b>Mr [NAME]</b>\n[姓名] & co, [OTHER]")
    assert shown == (
        '<span class="masked-parts">&lt;b&gt;Mr <mark>[NAME]</mark>&lt;/b&gt;<br><mark>[姓名]</mark> &amp; co, [OTHER]</span>'
    )
    assert masked_parts(5) == '<span class="masked-parts">5</span>'


def test_usual_words() -> None:
    assert all(re.fullmatch("[a-z]{3,}", word) for word in usual.WORDS)
    assert all(re.fullmatch("[a-z]{2}", word) for word in usual.OF_TWO)
    for word in usual.WORDS:
        text = f"X {word} y; {word.capitalize()} z."
        assert mask(text, [word]).text == f"X {word} y; [NAME] z."


def test_a_preview_that_is_over_holds_no_values() -> None:
    assert without_rows({"format": "csv", "rows": [["Jones"]], "masking": {"rows": 1}}) == {"format": "csv"}
