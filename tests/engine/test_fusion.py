"""The fusion network: gates, augmentation, and learning what only a network on the files themselves can see."""

import subprocess
import sys

import numpy as np
import pytest

import engine
from engine.bundle import Bundle
from engine.candidates.fusion import FusionModel
from engine.files import Files
from engine.schema import ColumnSpec, Kind
from engine.transformers.image import ImageTransformer

N = 160


def pictures(seed: int = 0) -> tuple[Bundle, np.ndarray]:
    """The class is whether a small cross or a small ring lies anywhere in noise; the table is noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, N)
    cells = []
    for label in y:
        pixels = rng.integers(0, 60, (64, 64)).astype(np.uint8)
        row, column = rng.integers(2, 46, 2)
        if label:
            pixels[row + 6 : row + 10, column : column + 16] = pixels[row : row + 16, column + 6 : column + 10] = 230
        else:
            pixels[row : row + 16, column : column + 16] = 230
            pixels[row + 4 : row + 12, column + 4 : column + 12] = 20
        cells.append(pixels)
    block, _ = ImageTransformer([ColumnSpec("i", Kind.IMAGE)]).encode([cells], Files())
    return Bundle(rng.normal(size=(N, 3)), {Kind.IMAGE: (block.tensors, block.present)}), y


@pytest.mark.slow  # trains a convolutional network: about 10 s on an idle core
def test_it_learns_a_shape_wherever_it_lies_without_any_features() -> None:
    X, y = pictures()
    model = FusionModel(epochs=25, batch_size=16, seed=1).fit(X[:120], y[:120])
    assert (model.predict(X[120:]) == y[120:]).mean() > 0.85


def test_same_seed_same_weights_and_restored_ones_give_the_same() -> None:
    X, y = pictures()
    one = FusionModel(epochs=2, seed=4).fit(X, y)
    other = FusionModel(epochs=2, seed=4).fit(X, y)
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(values, other.arrays()[name])
    again = FusionModel(epochs=2, seed=4).restore({}, one.arrays())
    np.testing.assert_array_equal(again.raw(X), one.raw(X))
    assert not np.array_equal(FusionModel(epochs=2, seed=5).fit(X, y).raw(X), one.raw(X))


def test_a_record_alone_gets_what_it_gets_among_others() -> None:
    X, y = pictures()
    model = FusionModel(epochs=1).fit(X, y)
    together = model.raw(X)
    np.testing.assert_allclose(np.concatenate([model.raw(X[k : k + 1]) for k in range(5)]), together[:5], atol=1e-5)


def test_an_absent_file_adds_nothing() -> None:
    X, y = pictures()
    model = FusionModel(epochs=1).fit(X, y)
    tensors, present = X.tensors[Kind.IMAGE]
    hidden = Bundle(X.table, {Kind.IMAGE: (tensors, np.zeros_like(present))})
    swapped = Bundle(X.table, {Kind.IMAGE: (tensors.take(np.arange(N)[::-1].copy()), np.zeros_like(present))})
    np.testing.assert_array_equal(model.raw(hidden), model.raw(swapped))
    assert np.abs(model.raw(hidden) - model.raw(X)).max() > 0


def test_regression_and_tables_without_files() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 4))
    y = 50.0 + 20.0 * table[:, 0] - 10.0 * table[:, 1]
    model = FusionModel(task="regression", epochs=60, learning_rate=0.01, patience=30).fit(table, y)
    assert np.corrcoef(model.raw(table), y)[0, 1] ** 2 > 0.95


def test_stop_is_asked_between_steps() -> None:
    X, y = pictures()

    def stop(curve: object) -> None:
        raise engine.Stopped

    with pytest.raises(engine.Stopped):
        FusionModel(epochs=1).fit(X, y, stop=stop)


def test_bundles_are_cut_like_arrays() -> None:
    X, _ = pictures()
    part = X[np.array([3, 1])]
    assert len(part) == 2 and part.shape == (2, 3)
    np.testing.assert_array_equal(part.tensors[Kind.IMAGE][0][np.array([1])], X.tensors[Kind.IMAGE][0][np.array([1])])


def test_the_engine_and_its_transformers_need_no_torch() -> None:
    code = (
        "import sys,engine; engine.registry; import engine.search, engine.transformers.image, engine.weights\n"
        "assert 'torch' not in sys.modules and 'PIL' not in sys.modules and 'nibabel' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Augmentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape", "axis"), [(Kind.IMAGE, (3, 64, 64), 3), (Kind.VOLUME, (1, 32, 32, 32), 2)])
def test_left_and_right_are_exchanged_only_if_allowed(kind: Kind, shape: tuple[int, ...], axis: int) -> None:
    """The right half is bright: whatever else is changed, it stays the bright one."""
    import torch

    from engine.networks import ENCODERS

    batch = torch.zeros(24, *shape)
    half = shape[axis - 1] // 2
    batch.narrow(axis, half, half).fill_(1.0)

    def exchanged(allow: bool) -> int:
        generator = torch.Generator().manual_seed(0)
        changed = ENCODERS[kind].augment(batch, generator, {"augmentation": 1.0, "allow_flip": allow})
        assert changed.shape == batch.shape and not torch.equal(changed, batch)
        left = changed.narrow(axis, 0, half).flatten(1).mean(dim=1)
        right = changed.narrow(axis, half, half).flatten(1).mean(dim=1)
        return int((left > right).sum())

    assert exchanged(False) == 0
    assert 4 <= exchanged(True) <= 20


def test_augmentation_is_repeatable_and_can_be_switched_off() -> None:
    import torch

    from engine.networks import ENCODERS

    batch = torch.rand(4, 3, 64, 64)

    def once(strength: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        return ENCODERS[Kind.IMAGE].augment(batch, generator, {"augmentation": strength})

    assert torch.equal(once(0.5), once(0.5))
    assert torch.equal(once(0.0), batch)


def test_a_turn_turns_and_a_shift_shifts() -> None:
    """affine alone, with its limits at 0: the identity; a volume's turn leaves its last axis alone."""
    import torch

    from engine.networks.moves import affine

    volume = torch.rand(2, 1, 8, 8, 8)
    generator = torch.Generator().manual_seed(0)
    same = affine(volume, generator, degrees=0, scale=0, shift=0)
    torch.testing.assert_close(same, volume, atol=1e-5, rtol=0)
    layers = torch.arange(8.0).expand(2, 1, 8, 8, 8).contiguous()  # each layer along the last axis has its own value
    torch.testing.assert_close(affine(layers, generator, degrees=40, scale=0, shift=0), layers, atol=1e-4, rtol=0)
