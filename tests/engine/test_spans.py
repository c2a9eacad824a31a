"""Spans of text: the field against counting all paths, metrics by hand, English and Chinese, nothing readable stored."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import engine
from engine.spans.crf import Chains, Crf, backward, forward
from engine.spans.judging import taken
from engine.spans.pipeline import PIPELINE, SPAN_METRICS
from engine.spans.tokens import (
    buckets,
    design,
    known_of,
    parse_marks,
    parse_spans,
    runs_of,
    tags_of,
    tokenise,
)

SYMPTOMS = ("chest pain", "dry cough", "fever", "shortness of breath", "headache", "nausea", "sore throat", "night sweats")
DRUGS = ("aspirin", "metformin", "insulin", "warfarin", "codeine", "digoxin")
ZH_SYMPTOMS = ("胸痛", "干咳", "发热", "呼吸困难", "头痛", "恶心", "咽痛", "盗汗")
ZH_DRUGS = ("阿司匹林", "二甲双胍", "胰岛素", "华法林", "可待因", "地高辛")
ENGLISH = ("Patient complains of {s} since Monday. Takes {d} daily.", "Presents with {s} and {s}; started {d}.",
           "Denies fever history. Reports {s}. Given {d} twice.", "Reports {s}, was given {d}.",
           "No complaints today.")  # fmt: skip
CHINESE = ("患者诉{s}三天，服用{d}。", "因{s}及{s}入院，给予{d}治疗。", "主诉{s}，口服{d}。", "今日无不适。")


def notes(n: int, seed: int, chinese: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    words = {"s": ZH_SYMPTOMS if chinese else SYMPTOMS, "d": ZH_DRUGS if chinese else DRUGS}
    rows = []
    for i in range(n):
        text, spans = "" if chinese else f"Mr Ottokar{i} seen. ", []
        for part in re.split(r"(\{.\})", str(rng.choice(CHINESE if chinese else ENGLISH))):
            if part in ("{s}", "{d}"):
                word = str(rng.choice(words[part[1]]))
                spans.append([len(text), len(text) + len(word), "symptom" if part == "{s}" else "drug"])
                part = word
            text += part
        rows.append((f"MRN{i // 2}", text, spans))
    return pd.DataFrame(rows, columns=["mrn", "note", "marks"])


RECIPE = engine.Recipe(target="marks", patient="mrn", task="spans", settings={"text": "note", "penalty": 0.1})


@pytest.fixture(scope="module")
def search() -> engine.Search:
    return engine.fit_candidates(notes(160, seed=1), RECIPE)


@pytest.fixture(scope="module")
def report(search: engine.Search) -> engine.Report:
    frame = notes(120, seed=2).assign(ward=np.where(np.arange(120) % 2, "a", "b"))
    return engine.evaluate(search.best, frame, groups="ward", bootstrap=200)


def test_the_field_agrees_with_counting_every_path() -> None:
    rng = np.random.default_rng(0)
    k, starts = 5, np.array([0, 3, 3, 7])
    X = sparse.csr_matrix(rng.random((7, 6)) * (rng.random((7, 6)) < 0.6))
    crf = Crf(2, rng.normal(size=(6, k)), rng.normal(size=(k, k)))
    trans, begin = crf.steps
    emission, chains = X @ crf.weights, Chains.of(starts)
    _, whole = forward(chains, emission, trans, begin)
    backward(chains, emission, trans)
    tags = crf.tag(X, starts)
    found = crf.span_probabilities(X, starts, [[(1, 3, 1)], [], [(1, 3, 1), (3, 4, 0)]])
    for text, (low, high) in ((0, (0, 3)), (2, (3, 7))):
        paths = {}
        for path in itertools.product(range(k), repeat=high - low):
            steps = sum(trans[a, b] for a, b in itertools.pairwise(path))
            paths[path] = begin[path[0]] + sum(emission[low + i, tag] for i, tag in enumerate(path)) + steps
        total = np.logaddexp.reduce(list(paths.values()))
        assert whole[chains.first.tolist().index(low)] == pytest.approx(total)
        assert max(paths, key=lambda path: paths[path]) == tuple(tags[low:high])
        exact = sum(np.exp(s - total) for path, s in paths.items() if path[1:3] == (3, 4) and (*path, 0, 0)[3] != 4)
        assert found[text][0] == pytest.approx(exact)
    last = sum(np.exp(s - total) for path, s in paths.items() if path[3] == 1)
    assert found[2][1] == pytest.approx(last)


def test_the_fitted_field_is_where_the_likelihood_is_flat() -> None:
    """Without transitions to learn (one-token texts) it is a multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(300, 3)), np.ones(300)])
    tags = rng.choice([0, 1], size=300, p=[0.6, 0.4])
    tags[X[:, 0] > 0.7] = 1
    crf = Crf.fit(sparse.csr_matrix(X), tags, np.arange(301), 1, 1.0, lambda: None, steps=500)
    ours = crf.span_probabilities(sparse.csr_matrix(X), np.arange(301), [[(0, 1, 0)]] * 300)
    plain = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(X, tags)  # two rows of weights, each penalised
    assert np.allclose(np.concatenate(ours), plain.predict_proba(X)[:, 1], atol=5e-3)


def test_tokens_are_words_and_single_chinese_characters() -> None:
    texts = ["O2-sat 95%, 服用aspirin。", ""]
    tokens = tokenise(texts)
    cut = [texts[0][a:b] for a, b in zip(tokens.begin, tokens.end, strict=True)]
    assert cut == ["O2", "-", "sat", "95", "%", ",", "服", "用", "aspirin", "。"] and tokens.starts.tolist() == [0, 10, 10]
    alone, with_others = buckets(tokenise(["fever today"])), buckets(tokenise(["x y", "fever today", "z"]))
    assert np.array_equal(alone, with_others[2:4])  # neighbours in the table are no neighbours in the text


def test_annotations_come_as_lists_json_or_marks() -> None:
    wanted = [(0, 5, "a"), (6, 9, "b")]
    for cell in ([[6, 9, "b"], [0, 5, "a"]], '[[0, 5, "a"], [6, 9, "b"]]', [{"start": 0, "end": 5, "label": "a"}, (6, 9, "b")]):
        assert [(s.start, s.end, s.label) for s in parse_spans(cell)] == wanted
    assert parse_spans(None) is None and parse_spans([]) == []
    plain, spans = parse_marks("has <symptom>chest pain</symptom>, BP < 90 and > 60")
    assert plain == "has chest pain, BP < 90 and > 60"
    assert [(plain[s.start : s.end], s.label) for s in spans] == [("chest pain", "symptom")]
    for wrong in ("text", 7, [[5, 2, "a"]], [[0, 1]], [[-1, 2, "a"]]):
        with pytest.raises((ValueError, TypeError)):
            parse_spans(wrong)
    with pytest.raises(ValueError, match="does not fit"):
        parse_marks("<a>x</b>")


def test_spans_survive_the_way_through_tags() -> None:
    text = "chest pain fever and dry cough"
    spans = parse_spans([[0, 10, "s"], [11, 16, "s"], [21, 30, "d"], [25, 30, "d"]])
    tokens = tokenise([text])
    tags, lost = tags_of(tokens, [spans], ["d", "s"])
    assert tags.tolist() == [3, 4, 3, 0, 1, 2] and lost == 1  # two spans side by side stay two
    assert runs_of(tags) == [(0, 2, 1), (2, 3, 1), (4, 6, 0)]


def test_metrics_by_hand_and_by_scikit_learn() -> None:
    """One text, true: A[0,2) A[4,6) B[8,9); found: A[0,2) A[5,7) A[8,9)."""
    sheet = {"exact": [1], "found": [3], "true": [3], "found_over": [2], "true_over": [2],
             "token_hit": [3], "token_found": [5], "token_true": [5], "patient": [0],
             "spans": {"text": [0, 0, 0], "p": [0.9, 0.6, 0.2], "hit": [1, 0, 0]}}  # fmt: skip
    from sklearn.metrics import brier_score_loss, f1_score

    from engine.spans.judging import overlapped, token_counts

    true, found = [(0, 2, 0), (4, 6, 0), (8, 9, 1)], [(0, 2, 0), (5, 7, 0), (8, 9, 0)]
    assert (overlapped(found, true), overlapped(true, found), *token_counts(found, true)) == (2, 2, 3, 5, 5)
    got = {name: values[0] for name, values in PIPELINE.scores(sheet, np.ones((1, 1))).items()}
    assert got["span_f1"] == got["span_precision"] == got["span_sensitivity"] == pytest.approx(1 / 3)
    assert got["overlap_f1"] == pytest.approx(2 / 3)
    a, b = [1, 1, 0, 0, 1, 1, 0, 0, 2], [1, 1, 0, 0, 0, 1, 1, 0, 1]
    assert got["token_f1"] == pytest.approx(f1_score(a, b, labels=[1, 2], average="micro"))
    assert got["span_brier"] == pytest.approx(brier_score_loss([1, 0, 0], [0.9, 0.6, 0.2]))
    assert set(got) == set(SPAN_METRICS)


def test_new_notes_are_labelled_with_calibrated_probabilities(report: engine.Report, search: engine.Search) -> None:
    for name, entry in report.metrics.items():
        assert entry["value"] is not None and entry["low"] <= entry["value"] <= entry["high"], name
    assert report.metrics["span_f1"]["value"] > 0.95 > search.baseline.validation_score
    assert report.metrics["span_calibration_error"]["value"] < 0.05
    assert {row["class"]: row["n"] for row in report.per_class}.keys() == {"drug", "symptom"}
    assert report.per_class[0]["metrics"]["span_f1"]["low"] is not None
    assert sum(part["n"] for part in report.groups["ward"].values()) == report.n == 120
    json.dumps(report.to_dict(), allow_nan=False)
    own = taken(report.predictions, np.array([3, 3, 5]))
    weights = np.zeros((1, report.n))
    weights[0, [3, 5]] = [2.0, 1.0]
    one, other = PIPELINE.scores(own, np.ones((1, 3))), PIPELINE.scores(report.predictions, weights)
    assert one["span_f1"][0] == pytest.approx(other["span_f1"][0])


def test_words_never_seen_are_found_by_what_stands_around_them(search: engine.Search) -> None:
    text = "Mr X seen. Reports zxqv, was given blorbinol."
    spans = search.best.predict(pd.DataFrame({"note": [text]})).value[0]
    assert [(text[s.start : s.end], s.label) for s in spans] == [("zxqv", "symptom"), ("blorbinol", "drug")]
    assert all(0 < s.low <= s.probability <= s.high < 1 for s in spans)


def test_chinese_notes_are_labelled() -> None:
    fitted = engine.fit(notes(120, seed=3, chinese=True), RECIPE)
    report = engine.evaluate(fitted, notes(80, seed=4, chinese=True), bootstrap=20)
    assert report.metrics["span_f1"]["value"] > 0.95


def test_inline_marks_are_read_and_never_needed_to_predict() -> None:
    frame = notes(100, seed=5)
    marked = []
    for text, spans in zip(frame.note, frame.marks, strict=True):
        for start, end, label in reversed(spans):
            text = f"{text[:start]}<{label}>{text[start:end]}</{label}>{text[end:]}"
        marked.append(text)
    fitted = engine.fit(pd.DataFrame({"note": marked, "mrn": frame.mrn}),
                        engine.Recipe(target="note", patient="mrn", task="spans", settings={"penalty": 0.1}))  # fmt: skip
    plain = notes(20, seed=6)
    found = fitted.predict(plain[["note"]])
    right = [[(s.start, s.end, s.label) for s in own] == [tuple(s) for s in marks]
             for own, marks in zip(found.value, plain.marks, strict=True)]  # fmt: skip
    assert np.mean(right) > 0.9


def test_reasons_add_up_and_name_the_words_around(search: engine.Search) -> None:
    reasons = engine.explain(search.best, pd.DataFrame({"note": ["Mr X seen. Reports zxqv, was given it.", ""]}))
    assert reasons[0].explained in ("symptom", "drug") and reasons[1].explained is None
    assert reasons[0].score == pytest.approx(sum(part["contribution"] for part in reasons[0].contributions))
    assert {"Reports", "was", "given"} & set(dict(reasons[0].words["note"]))


def test_a_word_of_one_patient_is_forgotten() -> None:
    tokens = tokenise(["Ottokar has fever", "Ottokar has fever", "Anna has fever"])
    found = buckets(tokens)
    kept = known_of(found, tokens, np.array([0, 0, 1]))
    name, has = found[0, 2], found[1, 2]  # the template of the word itself
    assert has in kept and name not in kept
    assert design(found, kept)[0].nnz < design(found, kept)[1].nnz


def test_nothing_readable_is_stored_and_a_forged_weight_matrix_is_refused(search: engine.Search, tmp_path: Path) -> None:
    import hashlib

    from safetensors.numpy import load_file, save_file

    folder = engine.save(search.best, tmp_path / "model")
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    for word in (b"Ottokar", b"MRN", b"cough", b"aspirin", b"Patient"):
        assert word not in stored
    state = load_file(folder / "state.safetensors")
    state["pipeline/kept"] = state["pipeline/kept"][:-1]
    save_file(state, folder / "state.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / "state.safetensors").read_bytes()).hexdigest()
    manifest["files"]["state.safetensors"]["sha256"] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(engine.ArtefactError):
        engine.load(folder)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (notes(60, seed=7).assign(marks="nonsense"), "spans_invalid"),
        (notes(60, seed=7).assign(marks=None), "no_labels"),
        (notes(60, seed=7).assign(mrn="same"), "too_few_patients"),
        (notes(60, seed=7).assign(marks=[[] for _ in range(60)]), "too_few_records"),
    ],
)
def test_what_cannot_be_learned_is_said(frame: pd.DataFrame, code: str) -> None:
    assert engine.check(frame, RECIPE)[0].code == code
    with pytest.raises(engine.EngineError):
        engine.fit(frame, RECIPE)


@pytest.mark.slow  # a fresh process imports the engine
def test_a_stored_labeller_gives_the_same_spans_in_another_process(search: engine.Search, tmp_path: Path) -> None:
    frame = notes(20, seed=8)
    engine.save(search.best, tmp_path / "model")
    frame.to_pickle(tmp_path / "frame")
    code = (
        "import sys, json, dataclasses, pandas as pd, engine\n"
        "found = engine.load(sys.argv[1]).predict(pd.read_pickle(sys.argv[2]))\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps([[dataclasses.astuple(s) for s in own] for own in found.value]))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "frame")],
                         capture_output=True, text=True, check=True, timeout=120).stdout  # fmt: skip
    import dataclasses

    own = [[list(dataclasses.astuple(s)) for s in spans] for spans in search.best.predict(frame).value]
    assert json.loads(out) == own


@pytest.mark.slow  # learns from 90 real transcriptions, four times
def test_headings_of_real_transcriptions_are_found_without_capitals_and_colons() -> None:
    """Silver labels: what was written in capitals before a colon is taken for a heading; then both are taken away."""
    folder = os.environ.get("AIMASS_SHARED_DATA")
    if folder is None:
        pytest.skip("AIMASS_SHARED_DATA is not set")
    texts = pd.read_csv(Path(folder) / "mtsamples500" / "mtsamples500.csv").text.astype(str)
    heading = re.compile(r"(?:(?<=^)|(?<=,)|(?<=\. ))\s*([A-Z][A-Z &/'-]{2,50})\s*:")
    rows = []
    for text in texts[:150]:
        plain, at, spans = "", 0, []
        for match in heading.finditer(text[:1500]):
            plain += text[at : match.start(1)].lower()
            spans.append([len(plain), len(plain) + len(match.group(1)), "heading"])
            plain, at = plain + match.group(1).lower(), match.end()
        rows.append({"note": (plain + text[at:1500].lower()).replace(":", " "), "marks": json.dumps(spans)})
    frame = pd.DataFrame(rows)
    search = engine.fit_candidates(frame[:90], engine.Recipe(target="marks", task="spans", settings=RECIPE.settings))
    report = engine.evaluate(search.best, frame[90:], bootstrap=100)
    assert report.metrics["span_f1"]["low"] > 0.7 > 0.5 > search.baseline.validation_score
    assert report.metrics["span_f1"]["value"] == pytest.approx(search.best.validation["value"], abs=0.1)
