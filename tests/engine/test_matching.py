"""Text matching: hashed vectors, ranks against independent figures, calibrated pairs, nothing of a patient kept."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import engine
from engine.matching.fitted import Ranked
from engine.matching.index import Index, Weights, nearest
from engine.matching.judging import sheet_of, taken
from engine.matching.learning import conditional_logit
from engine.matching.pipeline import MATCH_METRICS, PIPELINE
from engine.transformers.text import WIDTH

PARTS = ("fracture", "pain", "infection", "tumour", "bleeding", "inflammation", "stenosis", "rupture", "ulcer", "oedema")
PLACES = ("femur", "hand", "lung", "kidney", "stomach", "liver", "brain", "colon", "knee", "spine", "skin", "eye")
KINDS = ("acute", "chronic", "recurrent", "open", "closed", "severe")
CHINESE = dict(zip(PARTS + PLACES + KINDS, "折痛染瘤血炎窄裂疡肿股手肺肾胃肝脑肠膝脊肤眼急慢复开闭重", strict=True))


def concepts(seed: int = 0) -> list[list[str]]:
    """720 names of three words, in an order of their own."""
    found = [[k, p, w] for k in KINDS for p in PLACES for w in PARTS]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def paraphrase(words: list[str], rng: np.random.Generator) -> str:
    """Two of the three words, in any order, one with a letter lost, among empty words."""
    kept = [words[i] for i in rng.permutation(3)[:2]]
    at = int(rng.integers(1, len(kept[0])))
    return " ".join(["patient with", kept[0][:at] + kept[0][at + 1 :], "of the", kept[1]])


def table(names: list[list[str]], asked: list[list[str]], seed: int) -> pd.DataFrame:
    """A catalogue of names, and paraphrases of some with the code that they mean."""
    rng = np.random.default_rng(seed)
    code = {tuple(name): f"C{i:04d}" for i, name in enumerate(concepts())}
    rows = [(" ".join(name), code[tuple(name)], 1, code[tuple(name)]) for name in names]
    rows += [(paraphrase(name, rng), code[tuple(name)], 0, f"P{i // 2}") for i, name in enumerate(asked)]
    return pd.DataFrame(rows, columns=["text", "code", "catalogue", "mrn"])


SETTINGS = {"group": "code", "reference": "catalogue", "identifier": "code", "shareable": True}
RECIPE = engine.Recipe(target="text", patient="mrn", task="matching", settings=SETTINGS)


@pytest.fixture(scope="module")
def search() -> engine.Search:
    names = concepts()
    return engine.fit_candidates(table(names, names[:400], seed=1), RECIPE)


@pytest.fixture(scope="module")
def asked() -> pd.DataFrame:
    """Paraphrases of other names than were learned from."""
    frame = table([], concepts()[400:], seed=2)
    return frame.assign(clinic=np.where(np.arange(len(frame)) % 2, "a", "b"))


def test_the_nearest_are_those_of_a_whole_product() -> None:
    rng = np.random.default_rng(0)
    references = sparse.random(700, 90, 0.1, format="csr", rng=rng)
    queries = sparse.random(300, 90, 0.1, format="csr", rng=rng)
    whole = (queries @ references.T).toarray()
    excluded = np.where(np.arange(300) % 3 == 0, np.arange(300), -1)
    for i, ids in enumerate(nearest(queries, references.T.tocsr(), 7, excluded)):
        scores = whole[i].copy()
        if excluded[i] >= 0:
            scores[excluded[i]] = 0.0
        wanted = [j for j in np.lexsort((np.arange(700), -scores))[:7] if scores[j] > 0]
        assert ids.tolist() == wanted


def test_cosines_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = ["acute pain of the knee", "pain of the hand hand", "closed fracture of the femur", "pain"]
    vectorizer = TfidfVectorizer(sublinear_tf=True, smooth_idf=True)
    X = vectorizer.fit_transform(texts)
    counts = np.zeros((4, WIDTH))
    vocabulary = sorted(vectorizer.vocabulary_)
    for i, text in enumerate(texts):
        for word in text.split():
            counts[i, vocabulary.index(word)] += 1
    weights = Weights.learned((sparse.csr_matrix(counts), np.arange(4)), 1)
    index = Index(weights, weights.grams(sparse.csr_matrix(counts)))
    rows, ids = np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)
    cosines = index.features(index.grams, rows, ids)[:, 0].reshape(4, 4)
    assert np.allclose(cosines, (normalize(X) @ normalize(X).T).toarray(), atol=1e-6)


def ranked(*orders: list[int]) -> Ranked:
    found = [np.array(order) for order in orders]
    scores = [np.linspace(3, -3, len(order)) for order in orders]
    return Ranked(found, scores, [np.zeros((len(order), 6)) for order in orders], scores)


def test_ranks_are_those_of_scikit_learn_and_of_hand() -> None:
    from sklearn.metrics import brier_score_loss, ndcg_score, roc_auc_score

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    orders = [[4, 2, 0, 1, 3], [1, 0, 2, 3, 4], [3, 4, 1, 0, 2], [0, 1, 2, 3, 4]]
    truth = [np.array([0, 1]), np.array([1]), np.array([2]), np.array([9])]  # the last is never found
    sheet = sheet_of(ranked(*orders), truth, np.arange(4), sigmoid)
    got = {name: values[0] for name, values in PIPELINE.scores(sheet, np.ones((1, 4))).items()}
    assert got["mrr"] == pytest.approx((1 / 3 + 1 + 1 / 5 + 0) / 4)
    assert got["recall_at_1"] == 1 / 4 and got["recall_at_5"] == got["recall_at_10"] == 3 / 4
    gains = []
    for order, true in zip(orders[:3], truth[:3], strict=True):
        relevance = np.isin(np.arange(5), true).astype(float)[None]
        score = -np.array([order.index(i) for i in range(5)], dtype=float)[None]
        gains.append(ndcg_score(relevance, score, k=10))
    assert got["ndcg"] == pytest.approx(sum(gains) / 4)
    hit = np.concatenate([np.isin(order, true) for order, true in zip(orders, truth, strict=True)])
    p = sigmoid(np.tile(np.linspace(3, -3, 5), 4))
    assert got["pair_roc_auc"] == pytest.approx(roc_auc_score(hit, p))
    assert got["pair_brier"] == pytest.approx(brier_score_loss(hit, p))
    twice = PIPELINE.scores(taken(sheet, np.array([1, 1, 2])), np.ones((1, 3)))["mrr"][0]
    weighted = PIPELINE.scores(sheet, np.array([[0.0, 2.0, 1.0, 0.0]]))["mrr"][0]
    assert twice == pytest.approx(weighted) == pytest.approx((1 + 1 + 1 / 5) / 3)


def test_the_order_is_learned_as_a_conditional_logit() -> None:
    """With one feature and two references a query it is a logistic regression of the difference, without a constant."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    first = rng.random(400) < 1 / (1 + np.exp(-1.5 * (x[:, 0] - x[:, 1])))
    hit = np.column_stack([first, ~first]).ravel()
    terms = conditional_logit(x.ravel()[:, None], np.repeat(np.arange(400), 2), hit)
    plain = LogisticRegression(fit_intercept=False, C=float(np.var(x))).fit((x[:, :1] - x[:, 1:]), first)
    assert terms[0] == pytest.approx(plain.coef_[0, 0], rel=1e-3)


def test_paraphrases_find_their_code_and_learned_likeness_is_compared(search: engine.Search, asked: pd.DataFrame) -> None:
    by_name = {result.name: result for result in search.candidates}
    assert set(by_name) == {"words", "mixed", "learned", "aligned"}
    assert by_name["mixed"].validation_score > by_name["words"].validation_score + 0.03  # letters are lost
    report = engine.evaluate(search.best, asked, groups="clinic", bootstrap=200)
    assert set(report.metrics) == set(MATCH_METRICS) and report.n == len(asked)
    for entry in report.metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"] and entry["n"] == report.n
    assert report.metrics["mrr"]["value"] > report.baseline["mrr"]
    assert report.metrics["recall_at_10"]["value"] > 0.75
    assert abs(report.metrics["mrr"]["value"] - search.best.validation["metrics"]["mrr"]["value"]) < 0.1
    assert report.metrics["pair_calibration_error"]["value"] < 0.05
    assert set(report.groups["clinic"]) == {"a", "b"}
    json.dumps(report.to_dict(), allow_nan=False)
    assert engine.compare(report.predictions, report.predictions, "mrr")["difference"] == 0.0


def test_the_first_match_is_named_with_its_probability(search: engine.Search) -> None:
    name = concepts()[500]
    result = search.best.predict(pd.DataFrame({"text": [" ".join(name), None, "zzz qqq"]}))
    assert result.value[0] == "C0500" and result.matches[0][0].probability == result.probability[0]
    assert result.interval[0, 0] <= result.probability[0] <= result.interval[0, 1]
    scores = [match.score for match in result.matches[0]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 10
    assert result.value[1] == "" and result.matches[1] == [] and result.warnings[1][0]["code"] == "missing_text"
    same, other = search.best.pair_probability([" ".join(name)] * 2, [" ".join(name), "open ulcer of the eye"])
    assert same > 5 * other


def test_reasons_add_up_and_name_the_words(search: engine.Search) -> None:
    reasons = engine.explain(search.best, pd.DataFrame({"text": ["chronic ulcer of the stomach"]}))[0]
    total = reasons.base + sum(part["contribution"] for part in reasons.contributions)
    assert reasons.score == pytest.approx(total)
    told = dict(reasons.words["text"])
    assert min(told["ulcer"], told["stomach"], told["chronic"]) > told.get("the", 0.0)


def test_another_language_is_found_by_learned_meaning() -> None:
    names = concepts()
    code = [f"C{i:04d}" for i in range(len(names))]
    english = pd.DataFrame({"text": [" ".join(n) for n in names], "code": code, "catalogue": 1})
    chinese = pd.DataFrame({"text": ["".join(CHINESE[w] for w in n) for n in names], "code": code, "catalogue": 0})
    spec = engine.Recipe(target="text", task="matching", settings=SETTINGS)
    found = engine.fit_candidates(pd.concat([english, chinese[:500]], ignore_index=True), spec)
    assert found.best.candidate == "aligned"
    report = engine.evaluate(found.best, chinese[500:], bootstrap=50)
    assert report.metrics["recall_at_5"]["value"] > 0.8 and report.baseline["recall_at_5"] < 0.05


def test_labelled_pairs_teach_what_belongs_together() -> None:
    rng = np.random.default_rng(3)
    names = concepts()[:300]
    rows = [(paraphrase(n, rng), " ".join(n), 1, f"P{i}") for i, n in enumerate(names)]
    rows += [(paraphrase(n, rng), " ".join(names[(i + 7) % 300]), 0, f"Q{i}") for i, n in enumerate(names)]
    frame = pd.DataFrame(rows, columns=["text", "other", "same", "mrn"])
    spec = engine.Recipe(target="text", patient="mrn", task="matching", settings={"other": "other", "belongs": "same"})
    fitted = engine.fit(frame, spec)
    report = engine.evaluate(fitted, frame[:300], bootstrap=50)
    assert report.n == 300 and report.metrics["recall_at_10"]["value"] > 0.8
    assert fitted.calibrated and fitted.names is None


def test_without_supervision_there_is_no_probability_and_it_is_said() -> None:
    frame = pd.DataFrame({"note": [f"{' '.join(n)} seen again" for n in concepts()[:200]]})
    spec = engine.Recipe(target="note", task="matching")
    assert "matching_uncalibrated" in {p.code for p in engine.check(frame, spec)}
    result = engine.fit(frame, spec).predict(frame[:3])
    assert result.value.tolist() == ["0", "1", "2"] and np.isnan(result.probability).all() and result.sets is None
    assert result.matches[0][0].probability is None


def test_nothing_readable_of_a_patient_is_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = [(f"Ottokar{i} has {paraphrase(n, rng)}", f"GRP{i // 4}", f"MRN{i}") for i, n in enumerate(concepts()[:240])]
    frame = pd.DataFrame(rows, columns=["note", "episode", "mrn"])
    spec = engine.Recipe(target="note", patient="mrn", task="matching", settings={"group": "episode"})
    fitted = engine.fit(frame, spec)
    engine.save(fitted, tmp_path / "model")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir())
    for word in (b"Ottokar", b"MRN", b"GRP", b"ulcer", b"femur"):
        assert word not in stored
    assert fitted.predict(frame[:1]).value[0] == "0"  # its row number
    counts = fitted.encoder.transformers[engine.Kind.TEXT].count(0, ["ottokar17"])
    assert not np.isin(counts.indices[:1], fitted.index.weights.kept).any()  # one patient's name has no place
    with pytest.raises(engine.EngineError, match="shareable"):
        engine.fit(frame, engine.Recipe(target="note", task="matching", settings={"identifier": "mrn"}))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(engine.EngineError, match="no setting “gruop”"):
        engine.Recipe(target="t", task="matching", settings={"gruop": "x"})
    with pytest.raises(engine.EngineError, match="shareable"):
        engine.Recipe(target="t", task="matching", settings={"shareable": "yes"})
    with pytest.raises(engine.EngineError):
        engine.Recipe(target="t", settings={"group": "x"})
    with pytest.raises(engine.EngineError, match="metric"):
        engine.Recipe(target="t", task="matching", metric="rmse")


def test_a_forged_index_is_refused_before_it_reads_foreign_memory(search: engine.Search, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = engine.save(search.best, tmp_path / "model")
    state = load_file(folder / "state.safetensors")
    state["pipeline/index/indices"] = state["pipeline/index/indices"] + 10**8
    save_file(state, folder / "state.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    import hashlib

    manifest["files"]["state.safetensors"]["sha256"] = hashlib.sha256((folder / "state.safetensors").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(engine.ArtefactError):
        engine.load(folder)


@pytest.mark.slow  # a fresh process imports the engine
def test_a_stored_matcher_gives_the_same_answers_in_another_process(
    search: engine.Search, asked: pd.DataFrame, tmp_path: Path
) -> None:
    engine.save(search.best, tmp_path / "model")
    asked.to_pickle(tmp_path / "frame")
    code = (
        "import sys, json, pandas as pd, engine\n"
        "fitted = engine.load(sys.argv[1])\n"
        "p = fitted.predict(pd.read_pickle(sys.argv[2]))\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps([p.value.tolist(), p.probability.tolist(), [[m.score for m in own] for own in p.matches]]))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "frame")],
                         capture_output=True, text=True, check=True, timeout=120).stdout  # fmt: skip
    value, probability, scores = json.loads(out)
    own = search.best.predict(asked)
    assert value == own.value.tolist() and probability == own.probability.tolist()
    assert scores == [[match.score for match in each] for each in own.matches]
