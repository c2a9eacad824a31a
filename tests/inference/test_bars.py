"""Which classes' probabilities are seen at once on a diagnosis's page."""

from inference.presentation import _bars


def test_of_many_classes_the_likeliest_five_and_the_decided_one_are_seen_at_once() -> None:
    sixteen = {f"chapter {k:02d}": 0.2 / (k + 1) for k in range(16)}
    bars = _bars(sixteen, "chapter 09")
    assert [bar["label"] for bar in bars["probabilities"]] == [*(f"chapter {k:02d}" for k in range(5)), "chapter 09"]
    assert len(bars["probabilities"]) + len(bars["others"]) == 16
    few = _bars(dict(list(sixteen.items())[:6]), "chapter 00")
    assert (len(few["probabilities"]), few["others"]) == (6, []), "one more is not hidden behind a line of its own"
