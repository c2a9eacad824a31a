"""The public surface: quick to import, no torch, no Django, every promised name is there."""

import subprocess
import sys

import pytest

import engine

PROMISED = (
    "Kind", "Role", "ColumnSpec", "Schema", "Recipe", "infer_schema", "check", "fit", "fit_candidates", "evaluate", "explain",
    "save", "load", "compare", "registry", "METRICS", "EngineError", "Stopped", "Problem",
)  # fmt: skip


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(engine, name) is not None


def test_import_loads_neither_torch_nor_django_nor_pandas() -> None:
    heavy = run(
        "import engine, sys; print([m for m in ('torch', 'django', 'pandas', 'sklearn') if m in sys.modules])"
    )
    assert heavy == "[]"


def test_predicting_with_a_loaded_model_needs_no_torch(tmp_path, fitted) -> None:
    engine.save(fitted["network"], tmp_path / "m")
    code = (
        f"import engine, sys; m = engine.load({str(tmp_path / 'm')!r}); m.predict_records([{{'age': 50}}]); "
    )
    assert run(code + "print('torch' in sys.modules, 'django' in sys.modules)") == "False False"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = engine.nothing
