"""Networks of timm with random weights: timm's own numbers, prepared by the manifest, recorded and asked for again."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from engine import timm_networks, weights
from engine.files import Files
from engine.pictures import resize

needs_timm = pytest.mark.skipif(
    not timm_networks.installed(), reason="timm and torchvision of requirements/weights.txt are not installed"
)
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    weights._EMBEDDERS.clear()


def network(name: str, seed: int = 0, **more: Any) -> Any:
    """A network of timm with random weights, none of them zero (timm starts some blocks at nothing)."""
    import torch

    timm_networks.declare_operators()
    import timm

    torch.manual_seed(seed)
    made = timm.create_model(name, pretrained=False, **more).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def put(folder: Path, made: Any, architecture: str, **preprocessing: Any) -> weights.Pretrained:
    """Its weights as safetensors beside a manifest written by hand, as a hospital would."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    save_file(made.state_dict(), folder / "net.safetensors")
    sha256 = hashlib.sha256((folder / "net.safetensors").read_bytes()).hexdigest()
    said = {"size": 64, "mean": MEAN, "std": STD, **preprocessing}
    entry = {"name": "ours", "file": "net.safetensors", "sha256": sha256, "licence": "Apache-2.0", "kind": "image",
             "architecture": architecture, "preprocessing": said}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"weights": [entry]}))
    return weights.available(folder)[0]


@pytest.mark.slow  # the first one imports torchvision and timm: 4 s on an idle machine, 13 s on a busy one
@needs_timm
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_the_features_are_timms_own_of_pictures_prepared_as_the_manifest_says(
    tmp_path: Path, name: str
) -> None:
    """ConvNeXt keeps a norm below the name of its classifier; MobileNet has layers between pooling and classifier."""
    import torch

    made = network(name, num_classes=7)
    entry = put(tmp_path, made, f"timm:{name}")
    picture = np.random.default_rng(0).random((90, 50, 3)).astype(np.float32)
    x = (resize(picture, 64, 64) - np.array(MEAN, dtype=np.float32)) / np.array(STD, dtype=np.float32)
    with torch.no_grad():
        expected = made.forward_head(
            made.forward_features(torch.from_numpy(x).permute(2, 0, 1)[None]), pre_logits=True
        )
    found = weights.embedder(entry)
    np.testing.assert_allclose(found.embed([picture]), expected.numpy(), rtol=1e-4, atol=1e-4)
    assert found.width == expected.shape[1] and np.ptp(expected.numpy()) > 0


@needs_timm
def test_another_preparation_gives_other_numbers(tmp_path: Path) -> None:
    made, picture = network("resnet18"), np.full((8, 8, 3), 0.5, dtype=np.float32)
    first = weights.embedder(put(tmp_path, made, "timm:resnet18")).embed([picture])
    second = weights.embedder(put(tmp_path, made, "timm:resnet18", mean=[0.1, 0.1, 0.1])).embed([picture])
    third = weights.embedder(put(tmp_path, made, "timm:resnet18", size=96)).embed([picture])
    assert not np.allclose(first, second) and not np.allclose(first, third)


@needs_timm
@pytest.mark.parametrize(
    ("stored", "architecture", "changed", "why"),
    [
        ("resnet34", "timm:resnet18", {}, "of another network"),  # has all of resnet18's names and shapes, and more
        ("resnet18", "timm:resnet34", {}, "of another network"),
        ("resnet18", "timm:resnet50", {}, "can't be built"),
        ("resnet18", "timm:resnet18000", {}, "knows no network"),
        ("resnet18", "timm:hf-hub:timm/resnet18.a1_in1k", {}, "is no name of a network"),
        ("resnet18", "timm:local-dir:/tmp", {}, "is no name of a network"),
        ("vit_tiny_patch16_224", "timm:vit_tiny_patch16_224", {}, "can't look at 64 × 64 pixels"),
        ("resnet18", "timm:resnet18", {"std": [0, 0, 0]}, "the preprocessing of “ours” is wrong"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    tmp_path: Path, stored: str, architecture: str, changed: Any, why: str
) -> None:
    entry = put(tmp_path, network(stored), architecture, **changed)
    with pytest.raises(engine.EngineError, match=why) as caught:
        weights.embedder(entry)
    assert caught.value.code == "weights_invalid"


@needs_timm
def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path, network("resnet18"), "timm:resnet18")
    data = bytearray((tmp_path / "net.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(engine.EngineError, match="another hash"):
        weights.embedder(weights.available(tmp_path)[0])


IN_A_FRESH_PROCESS = """
import sys
import numpy as np, pandas as pd
import engine
from pathlib import Path
model, films, out = sys.argv[1:]
new = pd.DataFrame({"film": list(np.load(films))})
np.save(out, engine.load(Path(model)).predict(new).probabilities)
"""


@pytest.mark.slow  # a search with torch, and a fresh process that imports torch and timm
@needs_timm
def test_a_model_answers_the_same_in_a_fresh_process_and_not_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    entry = put(folder, network("resnet18"), "timm:resnet18")
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    cells = [rng.integers(0, 60 + 80 * label, (32, 32, 3)).astype(np.uint8) for label in y]
    frame = pd.DataFrame({"film": cells, "y": np.where(y, "sick", "well")})
    recipe = engine.Recipe(target="y", time_budget=60.0, candidates=("linear",), allow_leaks=True)
    fitted = engine.fit(frame, recipe, files=Files(weights=folder))
    used = fitted.encoder.settings["image"]["weights"]
    assert used == [
        {"name": "ours", "sha256": entry.sha256, "use": entry.use, "width": 512, "licence": "Apache-2.0"}
    ]
    before = fitted.predict(frame.iloc[:4], files=Files(weights=folder)).probabilities
    engine.save(fitted, tmp_path / "model")
    np.save(tmp_path / "films.npy", np.stack(cells[:4]))
    subprocess.run([sys.executable, "-W", "error", "-c", IN_A_FRESH_PROCESS, tmp_path / "model", tmp_path / "films.npy",
                    tmp_path / "out.npy"], check=True, env={**os.environ, "AIMASS_WEIGHTS": str(folder)})  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), before)
    loaded = engine.load(tmp_path / "model")
    with pytest.raises(engine.EngineError) as caught:
        loaded.predict(frame.iloc[:4])
    assert caught.value.code == "weights_missing" and "ours" in caught.value.message
    put(folder, network("resnet18", seed=1), "timm:resnet18")
    with pytest.raises(engine.EngineError, match="trained with"):  # other weights under the same name
        loaded.predict(frame.iloc[:4], files=Files(weights=folder))
    put(folder, network("resnet18"), "timm:resnet18", size=96)
    with pytest.raises(engine.EngineError, match="in another way"):
        loaded.predict(frame.iloc[:4], files=Files(weights=folder))
    used[0].pop("use")  # as models of before did not record it
    fitted.predict(frame.iloc[:4], files=Files(weights=folder))


@needs_timm
def test_torchvision_that_has_no_operators_says_so(tmp_path: Path) -> None:
    """Beside torch's CPU build PyPI's torchvision is imported without its operators; what needs them is told, not computed."""
    if not timm_networks.declare_operators():
        pytest.skip("this torchvision loads its operators")
    import torch
    import torchvision

    with pytest.raises(RuntimeError, match="Couldn't load custom C\\+\\+ ops"):
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


IN_A_POOR_PLACE = """
import sys
if sys.argv[1] == "is not there":
    sys.modules["torchvision"] = None
from engine import errors, timm_networks
print(timm_networks.installed())
try:
    timm_networks.build("resnet18", {})
except errors.EngineError as error:
    print(error.code, error.message)
"""
FAILS = "raise RuntimeError('operator torchvision::nms does not exist')\n"


@pytest.mark.parametrize("torchvision", ["fails", "is not there"])
def test_without_a_torchvision_that_fits_the_reason_is_told(tmp_path: Path, torchvision: str) -> None:
    """Packages that do what the real ones do there: timm imports torchvision, and that one fails."""
    for package, content in {"timm": "import torchvision\n", "torchvision": FAILS}.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(content)
    ran = subprocess.run([sys.executable, "-c", IN_A_POOR_PLACE, torchvision], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
    there, told = ran.stdout.splitlines()
    assert there == str(torchvision == "fails")
    assert told.startswith("weights_invalid") and "needs a torchvision that fits torch" in told


def test_weights_whose_code_is_not_installed_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "name": "w",
        "file": "w.safetensors",
        "sha256": "",
        "licence": "",
        "kind": "image",
        "architecture": "timm:resnet18",
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"weights": [values]}))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    assert weights.available(tmp_path) == [] and len(weights.listed(tmp_path)) == 1
