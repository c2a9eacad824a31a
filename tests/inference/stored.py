"""Small real models for the tests of inference, stored as training stores them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def heart_frame(rows: int = 240) -> pd.DataFrame:
    """Patients whose disease follows from age and cholesterol, with noise."""
    rng = np.random.default_rng(0)
    age = rng.normal(60, 9, rows).round()
    chol = rng.normal(240, 40, rows).round()
    sex = rng.choice(["female", "male"], rows)
    ill = age + (sex == "male") * 5 + (chol - 240) / 20 + rng.normal(0, 5, rows) > 62
    return pd.DataFrame(
        {"mrn": [f"p{i}" for i in range(rows)], "age": age, "chol": chol, "sex": sex, "disease": np.where(ill, "yes", "no")}
    )


def notes_frame(rows: int = 160) -> pd.DataFrame:
    """Notes of one line that name heart or lung."""
    rng = np.random.default_rng(1)
    heart = ["chest pain on exertion", "irregular pulse", "swollen ankles", "palpitations at night"]
    lung = ["productive cough", "wheezing", "short of breath with fever", "crackles on the left"]
    labels = rng.choice(["heart", "lung"], rows)
    notes = [f"{rng.choice(heart if y == 'heart' else lung)}, since {rng.integers(1, 30)} days" for y in labels]
    return pd.DataFrame({"note": notes, "organ": labels})


def fit(folder: Path, frame: pd.DataFrame, **recipe: Any) -> dict[str, Any]:
    import engine

    fitted = engine.fit(frame, engine.Recipe(candidates=("linear",), time_budget=5, **recipe))
    report = engine.evaluate(fitted, frame, bootstrap=50).to_dict()
    engine.save(fitted, folder / "model")
    return {"fitted": fitted, "folder": folder, "report": report, "frame": frame}


KINDS = {
    "mrn": ("category", "patient"), "age": ("number", "feature"), "chol": ("number", "feature"),
    "sex": ("category", "feature"), "disease": ("category", "target"), "note": ("text", "feature"),
    "organ": ("category", "target"), "pressure": ("number", "target"),
}  # fmt: skip


def store(made: dict[str, Any], organisation: Any, *, name: str, number: int = 1, **version: Any) -> Any:
    """A ModelVersion, champion of its model, with its artefact where training keeps it."""
    import shutil

    from datasets.models import Column, Dataset, DatasetVersion
    from training import artefacts
    from training.models import Model, ModelVersion, TrainingRun

    fitted, frame = made["fitted"], made["frame"]
    target = fitted.recipe.target
    dataset, created = Dataset.objects.get_or_create(
        organisation=organisation, name=name, defaults={"split_salt": "pepper"}
    )
    if created:
        for position, column in enumerate(frame.columns):
            kind, role = KINDS[column]
            Column.objects.create(dataset=dataset, position=position, name=column, kind=kind, role=role)
    frozen, _ = DatasetVersion.objects.get_or_create(
        dataset=dataset, number=1,
        defaults={"content_hash": "0" * 64, "columns": [], "record_count": len(frame), "test_count": 0, "patient_count": 1},
    )  # fmt: skip
    model, _ = Model.objects.get_or_create(
        organisation=organisation, dataset=dataset, target=target, defaults={"task": fitted.task, "name": name}
    )
    run = TrainingRun.objects.create(
        organisation=organisation, dataset=dataset, version=frozen, number=number, recipe=fitted.recipe.to_dict()
    )
    pk = artefacts.version_id(run, "linear")
    path = artefacts.folder_of(organisation.pk, pk)
    shutil.copytree(made["folder"], path)
    row = ModelVersion.objects.create(
        id=pk, model=model, number=number, run=run, candidate="linear", chosen=True,
        artefact=str(path.relative_to(artefacts.root())), artefact_hash=artefacts.hash_of(path / "model"),
        artefact_bytes=artefacts.size_of(path), schema=fitted.schema.to_dict(),
        classes=[str(c) for c in fitted.classes_] if fitted.task == "classification" else [],
        report=made["report"], metrics=made["report"]["metrics"], operating_point=fitted.operating_point or {},
        lineage={}, **{"gate_passed": True, **version},
    )  # fmt: skip
    model.champion = row
    model.save()
    return row


OLD_MAN = {"age": 75, "chol": 280, "sex": "male"}
YOUNG_WOMAN = {"age": 45, "chol": 200, "sex": "female"}
