"""What the engine says reaches people in their language."""

from datetime import date
from typing import Any

import pytest
from django.template import Context, Template
from django.utils.translation import override

from training import options, problems, words
from training.errors import RunRefused


def test_every_text_of_the_engines_candidates_is_known_to_the_portal() -> None:
    from engine import registry

    for candidate in registry.describe():
        assert words.CANDIDATES[candidate["name"]] == candidate["label"]
        assert candidate["description"] in words.SENTENCES
        for parameter in candidate["hyperparameters"]:
            assert parameter["meaning"] in words.SENTENCES
            assert parameter["name"] in words.HYPERPARAMETERS


@pytest.mark.parametrize(
    "text",
    [
        "cannot do regression",
        "fewer than 100 labelled records",
        "stopped after 2 of 9 trials: the time budget was used up",
        "a whole number from 1 to 5000",
        "must be auto or one of roc_auc, f1",
        "gives “age” the unknown kind “colour”",
        "only one class occurs in these records",
    ],
)
def test_english_stays_as_the_engine_said_it(text: str) -> None:
    with override("en"):
        assert words.said(text) == text


def test_limits_of_a_refused_hyperparameter_are_said_in_the_readers_language() -> None:
    import engine
    from engine import registry

    with pytest.raises(engine.EngineError) as refused, override("zh-hans"):
        registry.validate("boosting", {"max_depth": 100})
    with override("en"):
        english = problems.from_error(refused.value)["message"]
    with override("zh-hans"):
        chinese = problems.from_error(refused.value)["message"]
    assert "a whole number from 0 to 64" in english
    assert "从 0 到 64 的整数" in chinese and "whole" not in chinese


def test_what_nobody_translated_stays_as_it_is() -> None:
    with override("zh-hans"):
        assert words.said("ValueError: odd") == "ValueError: odd"
        assert words.candidate("gone") == "gone"


def test_the_options_are_described_in_the_readers_language() -> None:
    with override("zh-hans"):
        described = {c["name"]: c for c in options.describe_options()["candidates"]}
    boosting = described["boosting"]
    assert boosting["label"] != "Boosted trees"
    assert not any(h["meaning"].isascii() for h in boosting["hyperparameters"])


def test_a_percent_sign_in_a_templates_literal_is_translated_too() -> None:
    template = Template('{% load i18n %}{% translate "95% interval" %}')
    with override("zh-hans"):
        assert template.render(Context()) == "95% 置信区间"


def test_each_reader_is_told_in_their_own_language(version: Any, dana: Any) -> None:
    from accounts.models import Notification
    from training.nightly import tell_refused

    dana.language = "zh-hans"
    dana.save(update_fields=["language"])
    refused = RunRefused([problems.make("no_records")])
    with override("en"):
        tell_refused(version.model, date(2026, 1, 1), refused)
    told = {
        n.user.language: n
        for n in Notification.objects.select_related("user").filter(key__startswith="nightly-")
    }
    assert told["zh-hans"].title.endswith("今晚未重新训练")
    assert told["zh-hans"].body == "没有可供学习的记录：请先上传。"


def test_one_version_that_passed_is_told_in_the_singular() -> None:
    from types import SimpleNamespace
    from typing import Any, cast

    from training.settling import how_it_ended

    run = cast(Any, SimpleNamespace(target="t", dataset=SimpleNamespace(name="d")))
    job = cast(Any, SimpleNamespace(state="done"))
    assert how_it_ended(run, job, 1)[1].startswith("1 version passed")
    assert how_it_ended(run, job, 2)[1].startswith("2 versions passed")
