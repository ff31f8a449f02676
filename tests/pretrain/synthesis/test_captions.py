"""Captions say what the study says, and every caption is read back before it is believed."""

import pytest
from chest_entities import CARDIOMEGALY, CHEST, CONSOLIDATION, EFFUSION, LUNG, NODULE, OPACITY, PNEUMOTHORAX, sample
from hypothesis import given
from hypothesis import strategies as st
from judge_server import Server

from pretrain.synthesis.captions import BACKGROUND, faults_of, template_caption
from pretrain.synthesis.facts import StudyFacts, SynthesisError, facts_of
from pretrain.synthesis.rewrite import Written, rewrite_captions
from vlm.asking import JsonAsker
from vlm.chat_client import Patience

FACTS = StudyFacts(
    "a", present=(EFFUSION, CARDIOMEGALY), negated=(PNEUMOTHORAX,), uncertain=(CONSOLIDATION,), anatomy=(CHEST,),
    modality=("DCM:DX",), view="PA",
)  # fmt: skip


def test_facts_come_from_the_tags_and_headers_make_no_finding(chest_tree):
    tags = {
        "present": {"header": ["DCM:DX", CHEST], "text": [EFFUSION, LUNG], "label": [NODULE]},
        "negated": [PNEUMOTHORAX], "conflict": [CONSOLIDATION], "views": ["PA"],
    }  # fmt: skip
    facts = facts_of(sample("k", "x", seed=3, extra={"tags": tags}), chest_tree)
    assert facts.present == tuple(sorted((EFFUSION, NODULE))) and facts.negated == (PNEUMOTHORAX,)
    assert facts.uncertain == (CONSOLIDATION,)  # text and label contradict each other: that is a doubt
    assert facts.modality == ("DCM:DX",) and set(facts.anatomy) == {CHEST, LUNG} and facts.group == "p3"
    with pytest.raises(SynthesisError, match="medvlm data tag"):
        facts_of(sample("k", "x"), chest_tree)


def test_the_template_says_present_denied_and_doubted_and_keeps_knowledge_apart(known):
    caption = template_caption(FACTS, known)
    assert caption.study == (
        "Digital Radiography, PA view. Region: chest. The study shows pleural effusion and cardiomegaly. "
        "No pneumothorax. Possible consolidation."
    )
    assert f"\n\n{BACKGROUND} Pleural effusion is a kind of abnormal pleura morphology" in caption.text
    assert faults_of(caption.study, FACTS, known) == []
    assert template_caption(FACTS, known, background=False).text == caption.study


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Pleural effusion, cardiomegaly and a pulmonary nodule. No pneumothorax. Possible consolidation.",
         "new finding: Pulmonary nodule"),
        ("Pleural effusion and cardiomegaly. Pneumothorax. Possible consolidation.", "new finding: pneumothorax"),
        ("Pleural effusion and cardiomegaly. No pneumothorax. Consolidation.", "doubt became certain: Consolidation"),
        ("No pleural effusion. Cardiomegaly. No pneumothorax. Possible consolidation.",
         "finding denied: Pleural effusion"),
        ("Pleural effusion, cardiomegaly. No pneumothorax or asthma. Possible consolidation.", "new denial: asthma"),
        ("Pleural effusion, cardiomegaly. No pneumothorax. Possible consolidation. Possible asthma.",
         "new doubt: asthma"),
        ("Pleural effusion. No pneumothorax. Possible consolidation.", "finding left out: Cardiomegaly"),
        ("Pleural effusion and cardiomegaly. Possible consolidation.", "denial left out: pneumothorax"),
    ],
)  # fmt: skip
def test_a_caption_that_says_more_less_or_otherwise_is_refused(known, text, fault):
    assert fault in faults_of(text, FACTS, known)


def test_a_broader_name_of_a_finding_is_no_new_finding(known):
    facts = StudyFacts("a", present=(CONSOLIDATION,))
    assert faults_of("There is consolidation, a pulmonary opacity.", facts, known) == []
    assert faults_of("There is consolidation.", StudyFacts("a", present=(OPACITY,)), known)[0].startswith("new finding")


FINDINGS = [EFFUSION, CARDIOMEGALY, NODULE, PNEUMOTHORAX, "HP:0031944", "HP:0033821", "MONDO:0004979", "HP:0100750"]


@given(st.dictionaries(st.sampled_from(FINDINGS), st.sampled_from(["present", "negated", "uncertain"]), min_size=1))
def test_the_template_always_passes_its_own_check(known, states):
    parts = {state: tuple(sorted(e for e, s in states.items() if s == state)) for state in set(states.values())}
    facts = StudyFacts("a", **parts)
    caption = template_caption(facts, known)
    assert faults_of(caption.study, facts, known) == [] and caption.left_out == ()


def test_a_model_may_write_but_not_invent(known, tmp_path):
    def answer(_digest, text):
        if "cardiomegaly" in text:  # this study's caption gains a finding
            return {
                "caption": "Pleural effusion, cardiomegaly and a lung nodule. No pneumothorax. Maybe consolidation."
            }
        return {"caption": "A pleural effusion is seen; there is no pneumothorax."}

    plain = StudyFacts("b", present=(EFFUSION,), negated=(PNEUMOTHORAX,))
    with Server(answer) as server:
        asker = JsonAsker(server.url, Written, cache=tmp_path, patience=Patience(2, 0.01))
        made = rewrite_captions([FACTS, plain], ["", "Effusion."], known, asker)
        asked = server.bodies[0]["messages"][0]["content"] + server.bodies[1]["messages"][0]["content"]
    first, second = made.captions
    assert first is None and made.refused["new finding"] == 1
    assert second is not None and second.writer == "model scripted" and "lies in" in second.text
    assert "Its report, for wording only:\nEffusion." in asked
