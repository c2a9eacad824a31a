"""Pictures with and without text burned in: real ones, and real ones that a font writes on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tests.real import brain

Picture = NDArray[np.uint8]
WORDS = [
    "ZHANG WEI 1967-04-23", "MRN 5577341", "Smith^John M", "St Mary's Hospital",
    "12/03/2026 10:15", "DOB: 23.04.1967", "ID:88123",
]
CHINESE = ["张伟 男 59岁", "住院号 5577341", "北京协和医院"]
FONTS = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSerif-Bold.ttf",
]
HAN = "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"


def plain_pictures(shared: Path | None = None) -> Iterator[tuple[str, Picture]]:
    """(what it is, picture) of real pictures that show no text."""
    from datasets.dicom.pixels import frame_count, shown
    from datasets.dicom.reading import Unreadable, read
    from tests.datasets.dicom.files import every_file

    for path in every_file():
        try:
            data = read(path)
            size = min(int(data.get("Rows", 0)), int(data.get("Columns", 0)))
            if data.get("Modality") not in ("CT", "MR", "NM", "SEG", "RTDOSE", "CR") or size < 48:
                continue
            yield path.name, shown(data, frame_count(data) // 2, overlays=False)
        except Unreadable:
            continue
    yield from _brains()
    yield from _scikit()
    if shared is not None:
        for folder in sorted((shared / "bccd_blood_cells").rglob("*.*g"))[::20]:
            yield f"cell {folder.name}", np.asarray(Image.open(folder).convert("RGB"))


def _brains() -> Iterator[tuple[str, Picture]]:
    """Slices of real MR volumes in three planes, at the size of a scanner's matrix."""
    import nibabel

    for name in ("mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz"):
        values = np.asarray(nibabel.load(brain(name)).dataobj)
        grey = (np.clip(values / values.max(), 0, 1) * 255).astype(np.uint8)
        for axis in range(3):
            for place in np.linspace(0.15, 0.85, 12):
                cut = np.rot90(grey.take(int(place * grey.shape[axis]), axis=axis))
                big = Image.fromarray(cut).resize((512, round(512 * cut.shape[0] / cut.shape[1])), Image.Resampling.BICUBIC)
                yield f"{name[:15]} {axis} {place:.2f}", np.asarray(big)


def _scikit() -> Iterator[tuple[str, Picture]]:
    try:
        from skimage import data
    except ImportError:
        return
    for name in ("retina", "immunohistochemistry", "cell"):
        yield name, np.asarray(getattr(data, name)())


def written_on(picture: Picture, number: int, smallest: int = 10) -> Picture:
    """With a word on it: font, size, place, brightness and sharpness go by `number`."""
    dice = np.random.default_rng(number)
    image = Image.fromarray(picture).convert("RGB")
    longest = max(image.size)
    if longest < 256:
        image = image.resize((image.width * 256 // longest, image.height * 256 // longest))
    han = number % 4 == 3 and Path(HAN).exists()
    size = int(dice.integers(max(smallest, 12) if han else smallest, 29))
    font = ImageFont.truetype(HAN if han else FONTS[number % 3], size)
    text = (CHINESE if han else WORDS)[number % (3 if han else 7)]
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1" if number % 2 else "L"  # consoles write without anti-aliasing, workstations with it
    while draw.textlength(text, font=font) > image.width - 8 and len(text) > 6:
        text = text[:-1]
    x = int(dice.integers(4, max(5, image.width - int(draw.textlength(text, font=font)) - 3)))
    y = int(dice.choice([4, image.height - size - 8, dice.integers(4, image.height - size - 8)]))
    level = int(dice.choice([255, 255, 230, 200]))
    if number % 5 == 4:  # a label: dark on light
        box = draw.textbbox((x, y), text, font=font)
        draw.rectangle((box[0] - 4, box[1] - 4, box[2] + 4, box[3] + 4), fill=(230, 230, 230))
        level = 0
    draw.text((x, y), text, font=font, fill=(level, level, level))
    return np.asarray(image)
