"""A data set's pictures by label."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from PIL import Image

from accounts.models import AuditEvent
from datasets.models import Dataset, Record
from tests.datasets.test_cells_intake import imported, zipped


@pytest.fixture
def pictures(dana: Any, run_jobs: Any) -> Dataset:
    """Thirty dark and three bright pictures."""
    parts = {}
    for number in range(33):
        stream = io.BytesIO()
        Image.new("L", (12, 12), number if number < 30 else 200 + number).save(stream, "PNG")
        parts[f"{'dark' if number < 30 else 'bright'}/p{chr(97 + number % 26)}{number}.png"] = stream.getvalue()
    dataset = imported(dana, run_jobs, zipped(parts)).dataset
    assert dataset is not None
    return dataset


def thumbs(text: str) -> list[str]:
    return re.findall(r'<img src="([^"]+/thumb/)"', text)


def test_pictures_of_one_label_page_by_page(client_of: Any, bob: Any, pictures: Dataset) -> None:
    client, url = client_of(bob), reverse("datasets:gallery", args=[pictures.pk])
    bright = client.get(url, {"target": "bright"}).content.decode()
    own = set(Record.objects.filter(dataset=pictures, target="bright").values_list("pk", flat=True))
    assert {int(re.findall(r"/records/(\d+)/", thumb)[0]) for thumb in thumbs(bright)} == own
    assert "3 records." in bright and 'rel="next"' not in bright
    assert Image.open(io.BytesIO(client.get(thumbs(bright)[0]).content)).size[0] > 0
    first = client.get(url, {"target": "dark"}).content.decode()
    following = re.findall(r'rel="next" href="([^"]+)"', first)[0].replace("&amp;", "&")
    second = client.get(url + following).content.decode()
    assert (len(thumbs(first)), len(thumbs(second))) == (24, 6)
    assert not set(thumbs(first)) & set(thumbs(second))
    assert 'rel="prev"' in second
    told = AuditEvent.objects.filter(action="records.listed").first()
    assert told is not None and told.detail["filters"] == ["target"]


def test_the_locked_test_split_is_marked(client_of: Any, bob: Any, pictures: Dataset) -> None:
    text = client_of(bob).get(reverse("datasets:gallery", args=[pictures.pk]), {"target": "bright"}).content.decode()
    locked = Record.objects.filter(dataset=pictures, target="bright", split="test").count()
    assert text.count("gallery-split") == locked


def test_a_cell_without_a_picture_has_its_place(client_of: Any, bob: Any, pictures: Dataset) -> None:
    record = Record.objects.filter(dataset=pictures, target="bright").first()
    assert record is not None
    record.files.all().delete()
    text = client_of(bob).get(reverse("datasets:gallery", args=[pictures.pk]), {"target": "bright"}).content.decode()
    assert len(thumbs(text)) == 2 and "no picture" in text


def test_nothing_where_there_are_no_pictures_or_one_is_not_asked(
    client_of: Any, bob: Any, charlie: Any, pictures: Dataset, organisation: Any, numbers_alone: Dataset
) -> None:
    url = reverse("datasets:gallery", args=[pictures.pk])
    assert client_of(charlie).get(url).status_code == 404
    assert client_of(bob).get(url, {"cursor": "nonsense"}).status_code == 302
    assert client_of(bob).get(url, {"column": "nobody's", "target": "dark"}).status_code == 200
    assert "has no pictures" in client_of(bob).get(reverse("datasets:gallery", args=[numbers_alone.pk])).content.decode()
    for dataset, seen in ((pictures, True), (numbers_alone, False)):
        page = client_of(bob).get(reverse("datasets:detail", args=[dataset.pk])).content.decode()
        assert (reverse("datasets:gallery", args=[dataset.pk]) in page) is seen


@pytest.fixture
def numbers_alone(organisation: Any) -> Dataset:
    """A data set of numbers alone."""
    dataset = Dataset.objects.create(organisation=organisation, name="Numbers", split_salt="s")
    dataset.columns.create(name="age", kind="number", role="feature", position=0)
    return dataset


def test_real_cells_in_chinese(client_of: Any, bob: Any, dana: Any, run_jobs: Any, shared_data: Path) -> None:
    """Real blood cells, in Chinese."""
    from tests.datasets.test_cells_intake import cells_of, of_classes

    dataset = imported(dana, run_jobs, of_classes(cells_of(shared_data, 4))).dataset
    assert dataset is not None
    client = client_of(bob)
    client.cookies["django_language"] = "zh-hans"
    text = client.get(reverse("datasets:gallery", args=[dataset.pk])).content.decode()
    assert "图像" in text and len(thumbs(text)) == 12
