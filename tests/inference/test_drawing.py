"""Reasons are drawn where they lie: warm where they speak for the value, cold against it; and how pictures are sent."""

from typing import Any

import numpy as np
from PIL import Image

from datasets.cells import heat, pictures, showing
from inference import places
from inference.presentation import _warm

GREY = Image.new("RGB", (200, 100), (100, 100, 100))


def changed(image: Image.Image) -> Any:
    """(100, 200, 3) how much each pixel differs from the grey one."""
    return np.asarray(image).astype(int) - 100


def test_a_part_is_drawn_where_it_lies_and_in_its_colour() -> None:
    parts = [(((0.0, 0.5), (0.0, 0.5)), 1.0), (((0.5, 1.0), (0.5, 1.0)), -1.0)]
    difference = changed(heat.overlaid(GREY, parts))
    warm, cold = difference[25, 50], difference[75, 150]
    assert np.array_equal(np.sign(warm), np.sign(np.array(pictures.FOR) - 100))
    assert np.array_equal(np.sign(cold), np.sign(np.array(pictures.AGAINST) - 100))
    assert not difference[75, 50].any() and not difference[25, 150].any()


def test_a_weaker_part_is_drawn_weaker() -> None:
    whole = ((0.0, 1.0), (0.0, 1.0))
    strong, weak = (np.abs(changed(heat.overlaid(GREY, [(whole, s)]))).sum() for s in (1.0, 0.3))
    assert 0 < weak < 0.5 * strong


def test_a_map_of_the_other_class_is_not_said_to_be_what_the_network_looked_at() -> None:
    """With two classes and the negative one decided every sign is turned."""
    region = {"ranges": [[0.0, 0.5], [0.0, 0.5]], "contribution": -0.8}
    turned = {"kind": "image", "method": "grad-cam", "regions": [region]}
    assert not _warm(turned) and _warm({**turned, "regions": [{**region, "contribution": 0.8}]})
    told = " ".join(str(sentence) for sentence in places.sentences(turned, "ill"))
    assert "looked most at" not in told and "against “ill”" in told


def test_a_patients_picture_is_kept_by_nobody_on_its_way() -> None:
    response = showing.picture_response(b"png")
    assert response["Cache-Control"] == "no-store, private" and response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Type"] == "image/png"
