"""The parser's conformance suite: strings written for this project, and properties over any text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.parsing import parse_closed

YN = ("yes", "no")
EFFUSION = "Is there a left pleural effusion?"
NODULE = "Is there a nodule?"
HEART = "Is the heart enlarged?"
NORMAL = "Is the heart of normal size?"
SIDE = "Which side is the tube on?"
LR = ("left", "right", "both")
SIZE = "How large is the effusion?"
SML = ("small", "moderate", "large")
ZONES = ("left upper zone", "left lower zone", "right upper zone", "right lower zone", "none")

YES, NO, ABSTAIN, INVALID, UNPARSED = "=yes", "=no", "abstain", "invalid", "unparsed"

YES_NO_CASES = [
    # plain
    ("yes", EFFUSION, YES), ("no", EFFUSION, NO), ("Yes", EFFUSION, YES), ("NO", EFFUSION, NO), ("Yes.", EFFUSION, YES),
    (" no \n", EFFUSION, NO), ("yes!", EFFUSION, YES), ('"Yes"', EFFUSION, YES), ("**No**", EFFUSION, NO),
    ("**Yes.**", EFFUSION, YES), ("(no)", EFFUSION, NO), ("Y", EFFUSION, YES), ("n", EFFUSION, NO),
    ("Yep", EFFUSION, YES),
    ("Nope.", EFFUSION, NO), ("yeah", EFFUSION, YES), ("True", EFFUSION, YES), ("false", EFFUSION, NO),
    ("Affirmative.", EFFUSION, YES), ("`no`", EFFUSION, NO),
    # a head, then a reason
    ("Yes, there is a left pleural effusion.", EFFUSION, YES),
    ("No, there is no left pleural effusion.", EFFUSION, NO),
    ("Yes. The left costophrenic angle is blunted.", EFFUSION, YES),
    ("No. The costophrenic angles are sharp.", EFFUSION, NO),
    ("Yes - a moderate effusion.", EFFUSION, YES), ("No \u2014 the angle is clear.", EFFUSION, NO),
    ("Yes; small.", EFFUSION, YES), ("No: the lungs are clear.", EFFUSION, NO),
    ("yes\nThe left base is dense.", EFFUSION, YES),
    ("No, the lungs are normal.", EFFUSION, NO), ("No, I see only normal lungs.", EFFUSION, NO),
    ("No, there is only a right effusion", EFFUSION, NO),
    ("Yes there is.", EFFUSION, YES), ("No there is not.", EFFUSION, NO), ("No it isn't.", HEART, NO),
    ("Yes the heart is enlarged", HEART, YES), ("Yeah, it is.", HEART, YES), ("Nope, it is not.", HEART, NO),
    # yes, but
    ("Yes, but it is small.", EFFUSION, YES), ("Yes, but no pneumothorax.", EFFUSION, YES),
    ("Yes, but I am not sure.", EFFUSION, YES), ("Yes, a left effusion without a pneumothorax.", EFFUSION, YES),
    ("Yes, although it is subtle.", EFFUSION, YES), ("No, but the heart is large.", EFFUSION, NO),
    ("Yes, left effusion and no nodule.", EFFUSION, YES), ("No, but there is an effusion on the right.", EFFUSION, NO),
    # taken back
    ("Yes, there is no effusion.", EFFUSION, UNPARSED), ("Yes, no effusion.", EFFUSION, UNPARSED),
    ("Yes, it is absent.", EFFUSION, UNPARSED), ("Yes, it is not there.", EFFUSION, UNPARSED),
    ("No, there is a left pleural effusion.", EFFUSION, UNPARSED), ("No, I see an effusion.", EFFUSION, UNPARSED),
    ("Yes. No.", EFFUSION, INVALID), ("No. Yes.", EFFUSION, INVALID), ("Yes, but actually no.", EFFUSION, INVALID),
    ("No, wait, yes.", EFFUSION, INVALID), ("yes\nno", EFFUSION, INVALID),
    ("No. There is a left pleural effusion.", EFFUSION, UNPARSED), ("No, I do see an effusion", EFFUSION, UNPARSED),
    ("Yes. There is no left pleural effusion.", EFFUSION, UNPARSED), ("Yes.\nNo effusion.", EFFUSION, UNPARSED),
    ("No. There is no effusion. The heart is large.", EFFUSION, NO), ("No. There is a right effusion.", EFFUSION, NO),
    ("Yes. There is a left pleural effusion. No pneumothorax.", EFFUSION, YES),
    ("Yes - but only on the right", EFFUSION, UNPARSED), ("Yes, a right pleural effusion.", EFFUSION, UNPARSED),
    ("Yes, left and right effusions.", EFFUSION, YES), ("Yes, on the left.", EFFUSION, YES),
    # both
    ("yes or no", EFFUSION, INVALID), ("Yes/No", EFFUSION, INVALID), ("yes no", EFFUSION, INVALID),
    ("yes and no", EFFUSION, INVALID), ("No, yes", EFFUSION, INVALID), ("Both yes and no", EFFUSION, INVALID),
    ("Answer yes or no.", EFFUSION, INVALID), ("[yes, no]", EFFUSION, INVALID),
    # marked
    ("The answer is yes.", EFFUSION, YES), ("Answer: no", EFFUSION, NO), ("Final answer: **Yes**", EFFUSION, YES),
    ("My answer is no.", EFFUSION, NO), ("I would say yes.", EFFUSION, YES), ("I'd say no", EFFUSION, NO),
    ("The left angle is blunted, so the answer is yes.", EFFUSION, YES),
    ("The angle is sharp. Therefore, no.", EFFUSION, NO),
    ("<answer>no</answer>", EFFUSION, NO), ("The result is \\boxed{yes}", EFFUSION, YES),
    ("\\boxed{\\text{no}}", EFFUSION, NO), ('{"answer": "yes"}', EFFUSION, YES),
    ('```json\n{"answer": "No", "why": "yes it is sharp"}\n```', EFFUSION, NO),
    ("<think>It could be yes.</think>no", EFFUSION, NO), ("<think>Yes or no?</think>\n\nYes.", EFFUSION, YES),
    ("<think>It is yes because", EFFUSION, UNPARSED), ("<answer></answer>", EFFUSION, UNPARSED),
    ("Answer: Yes, left pleural effusion", EFFUSION, YES), ("Final answer: no, the angle is sharp", EFFUSION, NO),
    ("Answer: the film is rotated", EFFUSION, UNPARSED), ("neither yes nor no", EFFUSION, UNPARSED),
    ("I would not say yes", EFFUSION, UNPARSED), ("The answer is not yes", EFFUSION, UNPARSED),
    ("Left pleural effusion is not excluded", EFFUSION, UNPARSED), ("No evidence against effusion", EFFUSION, UNPARSED),
    ("The answer is no. I repeat: the answer is yes", EFFUSION, INVALID),
    # sentences that repeat the question
    ("There is a left pleural effusion.", EFFUSION, YES), ("A left-sided pleural effusion is seen.", EFFUSION, YES),
    ("There is no left pleural effusion.", EFFUSION, NO), ("No evidence of pleural effusion.", EFFUSION, NO),
    ("No effusion.", EFFUSION, NO), ("no evidence of a nodule", NODULE, NO), ("There are no nodules", NODULE, UNPARSED),
    ("No left pleural effusion is seen", EFFUSION, NO), ("Without pleural effusion", EFFUSION, NO),
    ("The heart is enlarged.", HEART, YES), ("The heart is not enlarged.", HEART, NO),
    ("The heart isn't enlarged.", HEART, NO), ("There is a nodule.", NODULE, YES),
    ("There's no sign of a nodule.", NODULE, NO),
    ("present", NODULE, YES), ("Absent.", NODULE, NO), ("negative", NODULE, NO), ("None", NODULE, NO),
    # affirmed with words that may turn the sense, or hedged
    ("The left pleural effusion has resolved.", EFFUSION, UNPARSED),
    ("A left pleural effusion was excluded.", EFFUSION, UNPARSED),
    ("A moderate left pleural effusion.", EFFUSION, YES), ("The heart is mildly enlarged.", HEART, UNPARSED),
    ("Possible left pleural effusion.", EFFUSION, ABSTAIN), ("A nodule is likely.", NODULE, ABSTAIN),
    ("Findings suggest a left pleural effusion", EFFUSION, ABSTAIN), ("A nodule is unlikely.", NODULE, ABSTAIN),
    # about something else, or against the question's sense
    ("There is a right pleural effusion.", EFFUSION, UNPARSED), ("No right pleural effusion.", EFFUSION, UNPARSED),
    ("There is an effusion.", EFFUSION, UNPARSED), ("No pneumothorax.", EFFUSION, UNPARSED),
    ("Not normal.", NORMAL, UNPARSED), ("not normal", HEART, UNPARSED), ("Normal heart", HEART, UNPARSED),
    ("abnormal", HEART, UNPARSED), ("The heart is normal.", HEART, UNPARSED), ("Unremarkable.", HEART, UNPARSED),
    ("There is no effusion.", "Is the film free of effusion?", UNPARSED),
    ("There is not no nodule.", NODULE, UNPARSED), ("No evidence of effusion", "", UNPARSED),
    # idioms that begin with no
    ("No doubt there is a nodule.", NODULE, UNPARSED), ("No question about it, a nodule.", NODULE, UNPARSED),
    ("No change.", NODULE, UNPARSED), ("No longer seen.", NODULE, UNPARSED),
    ("No idea.", NODULE, ABSTAIN), ("No comment", NODULE, ABSTAIN),
    # refusals and doubt
    ("I don't know.", NODULE, ABSTAIN), ("I cannot determine this from the image.", NODULE, ABSTAIN),
    ("I'm sorry, I can't help with that.", NODULE, ABSTAIN), ("As an AI, I do not give diagnoses.", NODULE, ABSTAIN),
    ("Unable to assess.", NODULE, ABSTAIN), ("It cannot be excluded.", NODULE, ABSTAIN), ("Maybe.", NODULE, ABSTAIN),
    ("Perhaps a nodule", NODULE, ABSTAIN), ("It is unclear.", NODULE, ABSTAIN), ("I am not sure.", NODULE, ABSTAIN),
    ("Indeterminate", NODULE, ABSTAIN), ("Unknown", NODULE, ABSTAIN), ("A nodule can't be ruled out.", NODULE, ABSTAIN),
    ("Insufficient information to answer.", NODULE, ABSTAIN), ("Please consult a radiologist.", NODULE, ABSTAIN),
    ("There might be a nodule.", NODULE, ABSTAIN), ("No, I cannot determine that.", NODULE, ABSTAIN),
    ("Yes, but I cannot tell for certain", NODULE, ABSTAIN), ("It is difficult to say.", NODULE, ABSTAIN),
    ("I can\u2019t tell", NODULE, ABSTAIN), ("Not possible to determine.", NODULE, ABSTAIN),
    # nothing there
    ("", NODULE, UNPARSED), ("   ", NODULE, UNPARSED), ("\n\n", NODULE, UNPARSED), ("...", NODULE, UNPARSED),
    ("?", NODULE, UNPARSED), ("42", NODULE, UNPARSED), ("E", NODULE, UNPARSED), ("noted", NODULE, UNPARSED),
    ("yesterday", NODULE, UNPARSED), ("nodule", "Is there an effusion?", UNPARSED), ("eyes", NODULE, UNPARSED),
    ("The image shows a chest.", NODULE, UNPARSED), ("Is there a nodule? Is there", NODULE, UNPARSED),
    ("{", NODULE, UNPARSED), ('{"answer": 3}', NODULE, UNPARSED), ("oui", NODULE, UNPARSED),
]  # fmt: skip

OTHER_CASES = [
    ("left", SIDE, LR, "=left"), ("Right.", SIDE, LR, "=right"), ("Both", SIDE, LR, "=both"),
    ("On the left.", SIDE, LR, "=left"), ("The tube is on the right side.", SIDE, LR, "=right"),
    ("left and right", SIDE, LR, INVALID), ("left or right", SIDE, LR, INVALID),
    ("left, right, both", SIDE, LR, INVALID),
    ("Not on the left.", SIDE, LR, UNPARSED), ("It is not the right one", SIDE, LR, UNPARSED),
    ("Neither left.", SIDE, LR, UNPARSED), ("Possibly left", SIDE, LR, ABSTAIN), ("I cannot tell.", SIDE, LR, ABSTAIN),
    ("middle", SIDE, LR, UNPARSED), ("leftover", SIDE, LR, UNPARSED), ("", SIDE, LR, UNPARSED),
    ("yes", SIDE, LR, UNPARSED),
    ("moderate", SIZE, SML, "=moderate"), ("A small effusion.", SIZE, SML, "=small"),
    ("small to moderate", SIZE, SML, INVALID),
    ("All right.", SIDE, LR, UNPARSED), ("That's right, on the left", SIDE, LR, "=left"),
    ("huge", SIZE, SML, UNPARSED), ("It isn't small", SIZE, SML, UNPARSED), ("Large!", SIZE, SML, "=large"),
    ("Answer: large", SIZE, SML, "=large"), ('{"answer": "small"}', SIZE, SML, "=small"),
    ("Left upper zone", "Where?", ZONES, "=left upper zone"),
    ("in the right lower zone", "Where?", ZONES, "=right lower zone"),
    ("none", "Where?", ZONES, "=none"), ("left zone", "Where?", ZONES, UNPARSED),
    ("upper zone", "Where?", ZONES, UNPARSED),
    ("left upper zone and left lower zone", "Where?", ZONES, INVALID), ("A", "Where?", ZONES, UNPARSED),
]  # fmt: skip


def check(text, question, options, expected):
    parsed = parse_closed(text, options, question)
    if expected.startswith("="):
        assert (parsed.outcome, parsed.value) == ("answer", expected[1:]), parsed
    else:
        assert (parsed.outcome, parsed.value) == (expected, None), parsed


@pytest.mark.parametrize(("text", "question", "expected"), YES_NO_CASES)
def test_yes_no(text, question, expected):
    check(text, question, YN, expected)
    check(text, question, tuple(reversed(YN)), expected)


@pytest.mark.parametrize(("text", "question", "options", "expected"), OTHER_CASES)
def test_other_options(text, question, options, expected):
    check(text, question, options, expected)
    check(text, question, tuple(reversed(options)), expected)


def test_the_suite_is_large_enough():
    texts = {(text, question) for text, question, _ in YES_NO_CASES} | {(t, q) for t, q, _, _ in OTHER_CASES}
    assert len(texts) >= 180 and len(texts) == len(YES_NO_CASES) + len(OTHER_CASES)


def test_letters_count_only_where_they_were_offered():
    assert parse_closed("B", LR, SIDE, lettered=True).value == "right"
    assert parse_closed("The answer is (c).", LR, SIDE, lettered=True).value == "both"
    assert parse_closed("E", LR, SIDE, lettered=True) == ("invalid", None, "no such letter")
    assert parse_closed("B", LR, SIDE).outcome == "unparsed"


def test_options_keep_their_spelling():
    assert parse_closed("YES", ("Yes", "No")).value == "Yes"
    assert parse_closed(None, YN).outcome == "unparsed"


PIECES = re.findall(
    r"\S+",
    'yes no not there is a left right effusion , . ; but maybe cannot tell answer : { } " <think> </think> \\boxed{ A B'
    " normal never small both and or",
)
WORDS = st.lists(st.sampled_from([*PIECES, "\n"]), max_size=20).map(" ".join)


@given(
    st.one_of(st.text(max_size=200), WORDS),
    st.sampled_from([YN, LR, SML, ZONES, ("a", "A b", "")]),
    st.text(max_size=40),
)
def test_any_text_gives_one_of_the_four_outcomes(text, options, question):
    parsed = parse_closed(text, options, question)
    assert parsed.outcome in ("answer", "abstain", "invalid", "unparsed")
    assert (parsed.value in options) if parsed.outcome == "answer" else parsed.value is None
    assert parse_closed(text, tuple(reversed(options)), question) == parsed


@given(st.one_of(st.text(max_size=200), WORDS))
def test_case_and_space_around_do_not_matter(text):
    if text.upper().lower() == text.lower():
        assert parse_closed(text, YN, NODULE)[:2] == parse_closed(f"  {text.upper()}\n", YN, NODULE)[:2]


def test_a_runaway_reply_is_quick_and_unparsed():
    assert parse_closed("yes " * 100_000, YN).outcome == "unparsed"
    assert parse_closed("no" + "(a" * 9_000, YN, NODULE).outcome == "unparsed"
