"""A simulation may be kept to some findings; the patients are otherwise the same."""

import pytest

from pretrain.sources.chest import FINDINGS, SimulationError, generate_case, simulate

CHOSEN = ("cardiomegaly", "effusion_left")


def test_left_out_findings_are_never_there_and_never_asked_about():
    for patient in range(40):
        some = generate_case(3, patient, size=96, findings=CHOSEN)
        full = generate_case(3, patient, size=96)
        for name in FINDINGS:
            expected = full.truth["findings"][name] if name in CHOSEN else False
            assert some.truth["findings"][name] == expected
        closed = {q["finding"] for q in some.qa if q["options"] == ["yes", "no"]}
        assert closed <= set(CHOSEN)


def test_an_unknown_finding_is_refused_by_name(tmp_path):
    with pytest.raises(SimulationError, match="atelectasis"):
        simulate(tmp_path / "out", 2, findings=("atelectasis",))
