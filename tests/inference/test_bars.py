"""Which classes' probabilities are seen at once on a diagnosis's page."""

from django.template.loader import render_to_string

from inference.presentation import _bars

SIXTEEN = {f"chapter {k:02d}": 0.2 / (k + 1) for k in range(16)}


def labels(bars: list[dict]) -> list[str]:
    return [bar["label"] for bar in bars]


def test_of_many_classes_the_likeliest_five_and_the_decided_one_are_seen_at_once() -> None:
    bars = _bars(SIXTEEN, "chapter 09")
    assert labels(bars["probabilities"]) == [*(f"chapter {k:02d}" for k in range(5)), "chapter 09"]
    assert labels(bars["others"]) == [f"chapter {k:02d}" for k in range(5, 16) if k != 9]
    assert bars["unseen"] == 0


def test_one_class_alone_is_not_hidden_behind_a_line_of_its_own() -> None:
    for count, decided in ((6, "chapter 00"), (7, "chapter 06")):
        bars = _bars(dict(list(SIXTEEN.items())[:count]), decided)
        assert (len(bars["probabilities"]), bars["others"]) == (count, [])


def test_hundreds_of_classes_do_not_fill_the_page_and_it_says_so() -> None:
    bars = _bars({f"code {k:03d}": (None if k == 7 else 1.0 / (k + 2)) for k in range(330)}, "none of them")
    assert (len(bars["probabilities"]), len(bars["others"]), bars["unseen"]) == (5, 50, 275)
    page = render_to_string("inference/_decision.html", {"shown": bars | {"value": "code 000"}, "diagnosis": None})
    assert "50 other classes" in page and "275 less likely classes are not shown." in page
    assert page.count("<tr") == 2 + 55
    seen, folded = page.split("<details")
    assert ">Probability of the likeliest classes<" in seen and ">Probability of each other class<" in folded
    few = render_to_string("inference/_decision.html", {"shown": {"probabilities": bars["others"]}, "diagnosis": None})
    assert ">Probability of each class<" in few and "<details" not in few
