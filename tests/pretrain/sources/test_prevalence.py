"""A simulation may set the share of patients with a finding; everything else of a patient stays as it was."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pretrain.sources.chest import FINDINGS, SimulationError, generate_case, simulate
from pretrain.sources.chest.case import stream
from pretrain.sources.chest.cli import app
from pretrain.sources.chest.findings import draw_presence, with_shares
from pretrain.sources.chest.questions import share_present

SHARES = {"cardiomegaly": 0.4, "nodule": 0.1, "pacemaker": 0.01}


def draw(shares, patients=4000):
    """(patients, findings) presence of the same patients."""
    drawn = [draw_presence(stream(5, k, "presence"), FINDINGS, with_shares(shares)).present for k in range(patients)]
    return np.array([[row[name] for name in FINDINGS] for row in drawn])


def test_the_share_of_patients_is_the_one_asked_for():
    drawn = draw(SHARES)
    for name, share in SHARES.items():
        error = (share * (1 - share) / len(drawn)) ** 0.5
        assert drawn[:, FINDINGS.index(name)].mean() == pytest.approx(share, abs=3 * error), name
        assert share_present(name, with_shares(SHARES)) == pytest.approx(share)


def test_other_findings_of_a_patient_do_not_change_and_rarer_is_a_subset():
    usual, rare, rarer = draw({}), draw({"pacemaker": 0.1}), draw({"pacemaker": 0.01})
    at = FINDINGS.index("pacemaker")
    others = [k for k in range(len(FINDINGS)) if k != at]
    assert (usual[:, others] == rare[:, others]).all()
    assert not (rarer[:, at] & ~rare[:, at]).any()
    assert not (rare[:, at] & ~usual[:, at]).any()
    assert 0 < rarer[:, at].sum() < rare[:, at].sum() < usual[:, at].sum()


def test_yes_and_no_stay_as_frequent_as_each_other():
    answers = []
    for patient in range(250):
        case = generate_case(5, patient, size=64, findings=("nodule",), shares={"nodule": 0.2}, lateral_share=0)
        answers += [q["answer"] for q in case.qa if q["finding"] == "nodule" and q["options"] == ["yes", "no"]]
    assert len(answers) > 60
    assert np.mean([a == "yes" for a in answers]) == pytest.approx(0.5, abs=0.13)


def test_a_folder_keeps_its_shares(tmp_path):
    options = {"findings": ("pacemaker",), "size": 64, "workers": 1}
    simulate(tmp_path / "out", 2, prevalence={"pacemaker": 0.02}, **options)
    assert json.loads((tmp_path / "out" / "simulation.json").read_text())["prevalence"] == {"pacemaker": 0.02}
    assert simulate(tmp_path / "out", 2, prevalence={"pacemaker": 0.02}, **options).kept == 2
    for other in ({"pacemaker": 0.03}, None):
        with pytest.raises(SimulationError, match=r"other settings \(prevalence\)"):
            simulate(tmp_path / "out", 2, prevalence=other, **options)


@pytest.mark.parametrize(
    ("prevalence", "words"),
    [
        ({"pacemaker": 0.0}, "above 0 and below 0.9"),
        ({"pacemaker": 0.95}, "above 0 and below 0.9"),
        ({"pacemaker": float("nan")}, "above 0 and below 0.9"),
        ({"atelectasis": 0.1}, "names atelectasis"),
        ({"nodule": 0.1}, "names nodule, which is not among"),
    ],
)
def test_a_share_that_cannot_be_is_refused(tmp_path, prevalence, words):
    with pytest.raises(SimulationError, match=words):
        simulate(tmp_path / "out", 2, findings=("pacemaker", "cardiomegaly"), prevalence=prevalence)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_shares(tmp_path):
    arguments = ["--patients", "2", "--size", "64", "--workers", "1", "--finding", "pacemaker"]
    root = typer.Typer()
    root.callback()(lambda: None)
    root.add_typer(app, name="data")
    out = CliRunner().invoke(root, ["data", "simulate", str(tmp_path / "out"), *arguments, "--prevalence", "pacemaker"])
    assert out.exit_code == 2
    out = CliRunner().invoke(
        root, ["data", "simulate", str(tmp_path / "out"), *arguments, "--prevalence", "pacemaker=0.5"]
    )
    assert out.exit_code == 0, out.output
    assert json.loads((tmp_path / "out" / "simulation.json").read_text())["prevalence"] == {"pacemaker": 0.5}
