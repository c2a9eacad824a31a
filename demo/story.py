"""What the demo shows once the portal is up, told through the Python SDK: data in, models trained, a diagnosis out."""

from pathlib import Path
from typing import Any

import ai_mass as am
from demo import data

HEART, CHAPTER, PLANES, EXAMPLES = "Heart disease", "ICD-10 chapter", "MRI planes", "Imaging examples"
MADE = {HEART: data.heart_disease, CHAPTER: data.icd10_names, PLANES: data.mri_planes, EXAMPLES: data.imaging_examples}
PATIENT = {
    "age": 63, "sex": "Male", "dataset": "Cleveland", "cp": "asymptomatic", "trestbps": 145, "chol": 233, "fbs": True,
    "restecg": "lv hypertrophy", "thalch": 112, "exang": True, "oldpeak": 2.3, "slope": "flat", "ca": 2,
    "thal": "reversable defect",
}  # fmt: skip
# What the person would correct on the preview page: the grade gives the outcome away; the rest is inferred.
CORRECTIONS = {
    HEART: {"num": {"role": "ignore"}, "id": {"role": "patient"}, "heart_disease": {"role": "target"}},
    CHAPTER: {
        "category": {"role": "patient", "kind": "category"},
        "language": {"role": "ignore", "kind": "category"},
        "diagnosis_name": {"role": "feature", "kind": "text"},
        "chapter": {"role": "target", "kind": "category"},
    },
    PLANES: {"stretch": {"role": "patient", "kind": "category"}, "plane": {"role": "target", "kind": "category"}},
    EXAMPLES: {"patient": {"role": "patient", "kind": "category"}},
}


def import_file(client: am.Client, path: Path, name: str) -> dict[str, Any]:
    """Upload, correct the preview, confirm and wait: what a person does on the upload page, over REST."""
    from ai_mass.progress import Progress
    from ai_mass.session import wait

    with path.open("rb") as file:
        received = client.post("uploads/", files={"file": (path.name, file)})
    columns = [
        {
            "name": c["name"],
            "kind": c["kind"],
            "role": "feature" if c["role"] in {"target", "patient"} else c["role"],
        }
        | CORRECTIONS[name].get(c["name"], {})
        for c in received["preview"]["columns"]
    ]
    body = {"columns": columns, "new_dataset_name": name, "keep_good_rows": True}
    confirmed = client.post(f"uploads/{received['id']}/confirm/", body)
    job = wait(client, confirmed["job"], Progress(f"Importing {path.name}"), None)
    if job["state"] != "done":
        raise RuntimeError(f"The import of {path.name} {job['state']}: {job['error']}")
    upload = client.get(f"uploads/{received['id']}/")
    print(
        f"  {upload['rows_added']} records added, {upload['rows_duplicate']} duplicates, {upload['rows_refused']} refused"
    )
    found: dict[str, Any] = client.get(f"datasets/{upload['dataset']}/")
    return found


def ensure_dataset(client: am.Client, name: str, folder: Path) -> dict[str, Any]:
    """The demo's data set; imported on the first start."""
    for dataset in client.pages("datasets/"):
        if dataset["name"] == name:
            return dataset
    return import_file(client, MADE[name](folder), name)


def ensure_champion(client: am.Client, dataset: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The data set's model with a confirmed champion; trained on the first start."""
    for model in client.pages("models/", dataset=dataset["id"]):
        if model["champion"]:
            return model
    version = am.train(dataset=dataset["name"], **options)
    print(f"\n{version}\n")
    client.post(
        f"model-versions/{version.id}/confirm/", {"reason": "best by validation, confirmed by the demo"}
    )
    return next(m for m in client.pages("models/", dataset=dataset["id"]) if m["champion"])


def show_leaderboard(client: am.Client, model: dict[str, Any], metric: str) -> None:
    """The leaderboard as a table of text."""
    print(f"Leaderboard of “{model['name']}” by {metric} on the locked test split")
    print(
        f"  {'rank':>4}  {'version':<9}{'candidate':<14}{'value':>7}  {'95% interval':<17}{'n':>5}  {'ms/row':>7}"
    )
    for row in client.get("leaderboard/", model=model["id"], metric=metric)["rows"]:
        version = row["version"]
        number = f"v{version['number']}" + ("*" if version["is_champion"] else "")
        value = f"{row['value']:.3f}" if row["value"] is not None else "–"
        interval = f"{row['low']:.3f} – {row['high']:.3f}" if row["low"] is not None else "–"
        latency = f"{version['latency_ms']:.1f}" if version["latency_ms"] is not None else "–"
        start = f"  {row['rank'] or '–':>4}  {number:<9}{version['candidate']:<14}"
        print(f"{start}{value:>7}  {interval:<17}{row['n'] or 0:>5}  {latency:>7}")
    print("  (* champion; versions of the same rank cannot be told apart by a paired test)\n")


def show_diagnosis(diagnosis: dict[str, Any], outcome: str) -> None:
    """One diagnosis as text."""
    low, high = diagnosis["interval"]
    print(
        f"{outcome}: {diagnosis['value']}, probability {diagnosis['probability']:.0%} (95% interval {low:.0%} – {high:.0%})"
    )
    for warning in diagnosis["warnings"]:
        print(f"  ! {warning['message']}")


def tell(client: am.Client, folder: Path) -> None:
    """The whole story: a table, texts and pictures are learned from; a DICOM study and a clip are there to look at."""
    heart = ensure_champion(client, ensure_dataset(client, HEART, folder), time_budget=45, seed=0)
    show_leaderboard(client, heart, "roc_auc")
    show_diagnosis(
        am.inference([PATIENT], model=heart["id"], details=True)[0], "Heart disease of a new patient"
    )
    chapter = ensure_champion(
        client, ensure_dataset(client, CHAPTER, folder), time_budget=45, seed=0, candidates=["linear"]
    )
    show_leaderboard(client, chapter, "balanced_accuracy")
    for text in ("acute myocardial infarction", "急性心肌梗死"):
        show_diagnosis(am.inference([text], model=chapter["id"], details=True)[0], f"Chapter of “{text}”")
    planes = ensure_champion(
        client, ensure_dataset(client, PLANES, folder), time_budget=30, seed=0, candidates=["linear"]
    )
    show_leaderboard(client, planes, "balanced_accuracy")
    found = am.inference([str(data.new_slice(folder))], model=planes["id"], details=True)[0]
    show_diagnosis(found, "Plane of a new MRI slice")
    examples = ensure_dataset(client, EXAMPLES, folder)
    print(f"\nDICOM series and a clip to look through: {client.url}/datasets/{examples['id']}/records/")
