"""Where identifiers were masked, a text means to a model what it means without them."""

import numpy as np
import pandas as pd
import pytest

import engine
from datasets.masking.texts import TOKENS, mask
from datasets.masking.ways import What
from engine.identifiers import without_identifiers
from engine.transformers.text import TextTransformer


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("急性心肌梗死", "急性心肌梗死"),
        ("患者姓名：[姓名]，急性心肌梗死", " ，急性心肌梗死"),
        ("住院号[证件号]，肺炎；手机 [电话]。", " ，肺炎； 。"),
        ("Patient name: [NAME], MRN: [NUMBER]. Chest pain.", " ,  . Chest pain."),
        ("Chest pain. Date of birth: [DATE], address: [ADDRESS]", "Chest pain.  ,  "),
        ("Tel. No.: [PHONE] cough", "  cough"),
        ("Phone.: [PHONE] cough", "  cough"),
        ("孕妇姓名：[姓名]，停经 8 周", " ，停经 8 周"),
        ("seen for pneumonia [NUMBER]", "seen for pneumonia  "),
        ("acute onset [3 days], name: unknown", "acute onset [3 days], name: unknown"),
        ("[NAME][NUMBER]", "  "),
        # words of a finding stay: a label is one of its own kind, a word of its own, and in English has a colon
        ("White cell [PHONE], fever", "White cell  , fever"),
        ("White cell: [PHONE]", "White cell:  "),
        ("tumour is mobile [NAME]", "tumour is mobile  "),
        ("tumour is mobile: [NAME]", "tumour is mobile:  "),
        ("Prolonged PT: [NAME]", "Prolonged PT:  "),
        ("Baby born [DATE] preterm", "Baby born   preterm"),
        ("non-patient: [NAME]", "non-patient:  "),
        ("a renamed: [NAME]", "a renamed:  "),
    ],
)
def test_tokens_and_the_labels_before_them_are_taken_out(text: str, left: str) -> None:
    assert without_identifiers(text) == left
    assert without_identifiers(left) == left


def test_every_token_of_the_masking_is_known() -> None:
    assert set(TOKENS) == set(What)
    for token in (token for both in TOKENS.values() for token in both):
        assert without_identifiers(f"fever {token} cough") == "fever   cough"


@pytest.fixture(scope="module")
def fitted() -> engine.Fitted:
    random = np.random.default_rng(0)
    words = {"heart": ["chest pain", "palpitations", "angina"], "lung": ["cough", "wheezing", "dyspnoea"]}
    rows = [
        (f"{random.choice(words[kind])} and {random.choice(words[kind])} since day {k % 9}", kind)
        for k, kind in enumerate(["heart", "lung"] * 60)
    ]
    frame = pd.DataFrame(rows, columns=["note", "ill"])
    return engine.fit(
        frame, engine.Recipe(target="ill", columns={"note": "text"}, candidates=("linear",), time_budget=5.0)
    )


def test_a_masked_identifier_changes_neither_answer_nor_reasons(fitted: engine.Fitted) -> None:
    plain = "cough and wheezing since day 3"
    sent = f"Patient name: John Smith, MRN: 4711-23. {plain}"
    masked = mask(sent).text
    assert "[NAME]" in masked and "[NUMBER]" in masked
    a, b = (fitted.predict_records([{"note": text}]) for text in (plain, masked))
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-9)
    words = [word for word, _ in engine.explain(fitted, [{"note": masked}])[0].words["note"]]
    assert {"cough", "wheezing"} <= set(words)
    assert not {"Patient", "name", "NAME", "MRN", "NUMBER"} & set(words)


def test_notes_with_tokens_are_read_in_the_way_of_their_own_language() -> None:
    notes = [f"姓名：[姓名] 住院号：[证件号] 手机：[电话] Chest pain for {k} days" for k in range(20)]
    assert TextTransformer.settle([None], [notes])["columns"][0]["analyzer"] == "char_wb"


def test_a_model_that_had_learned_the_tokens_still_reads_them() -> None:
    assert TextTransformer([], {"columns": []}).read("MRN: [NUMBER] cough") == "MRN: [NUMBER] cough"
    assert TextTransformer([], {"columns": [], "identifiers": "out"}).read("MRN: [NUMBER] cough") == "  cough"
