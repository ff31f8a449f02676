"""The folder: same bytes for any number of workers, resumable, patients never in two splits."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pretrain.sources.chest import SimulationError, generate_case, simulate
from pretrain.sources.chest.folder import SPLITS, split_of

SHARES = (0.5, 0.2, 0.3)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("sim") / "one"
    report = simulate(out, 8, seed=4, size=72, workers=1, shares=SHARES, lateral_share=0.6)
    return out, report, digest(out)


def test_two_workers_write_the_same_bytes_as_one(made, tmp_path):
    done = []
    simulate(
        tmp_path / "two",
        8,
        seed=4,
        size=72,
        workers=2,
        shares=SHARES,
        lateral_share=0.6,
        progress=lambda *x: done.append(x),
    )
    assert digest(tmp_path / "two") == made[2]
    assert done[0] == (0, 8) and done[-1] == (8, 8)


def test_rows_point_at_what_is_there(made):
    out, report, _ = made
    total = 0
    for split in SPLITS:
        assert (out / f"{split}.jsonl").exists() == bool(report.patients[split])
        for line in (out / f"{split}.jsonl").read_text().splitlines():
            row = json.loads(line)
            total += len(row["images"])
            assert row["simulated"] is True and "simulated" in row["licence"]
            assert row["report"]["findings"].startswith("SIMULATED")
            assert len(row["images"]) == len(row["masks"]) == len(row["views"])
            for image, mask in zip(row["images"], row["masks"], strict=True):
                assert image.startswith(f"{split}/{row['patient']}/{row['study']}/") and (out / image).is_file()
                grid = np.array(Image.open(out / mask))
                assert grid.shape == (row["truth"]["mask_side"],) * 2
                assert grid.dtype in (np.uint16, np.int32) and grid.max() < 2 ** len(row["truth"]["mask_bits"])
    assert total == report.images and sum(report.patients.values()) == 8 and report.made == 8


def test_masks_on_disk_are_the_masks_of_the_case(made):
    out = made[0]
    row = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    case = generate_case(4, int(row["patient"][1:]), size=72, lateral_share=0.6)
    for name, mask in zip(row["masks"], case.masks, strict=True):
        assert np.array_equal(np.array(Image.open(out / name)), mask)


def test_a_stopped_simulation_goes_on_and_ends_with_the_same_bytes(made, tmp_path):
    out, _, expected = made
    half = tmp_path / "half"
    shutil.copytree(out, half)
    studies = sorted(half.glob("*/p*/s0"))
    (studies[0] / "study.json").unlink()  # died before the last file of a patient
    shutil.rmtree(studies[1].parent)
    (studies[1].parent.with_name(f".{studies[1].parent.name}.partial") / "s0").mkdir(parents=True)
    (half / "test.jsonl").unlink()
    kept = (studies[2] / "0.dcm").stat().st_mtime_ns
    report = simulate(half, 8, seed=4, size=72, workers=1, shares=SHARES, lateral_share=0.6)
    assert (report.made, report.kept) == (2, 6)
    assert digest(half) == expected and (studies[2] / "0.dcm").stat().st_mtime_ns == kept


def test_after_kill_9_the_same_command_ends_with_the_same_bytes(tmp_path):
    program = (
        "import sys; from pretrain.sources.chest import simulate; "
        "simulate(sys.argv[1], 30, seed=6, size=64, workers=1, shares=(0.5, 0.2, 0.3))"
    )
    out = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", program, str(out)], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/p*/s0/study.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    there = len(list(out.glob("*/p*/s0/study.json")))
    assert 3 <= there < 30
    report = simulate(out, 30, seed=6, size=64, workers=1, shares=SHARES)
    assert report.kept == there
    simulate(tmp_path / "whole", 30, seed=6, size=64, workers=1, shares=SHARES)
    assert digest(out) == digest(tmp_path / "whole")


def test_more_patients_can_be_added_and_none_changes_its_split(made, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(made[0], more)
    report = simulate(more, 10, seed=4, size=72, workers=1, shares=SHARES, lateral_share=0.6)
    assert (report.made, report.kept) == (2, 8)
    after = digest(more)
    assert all(after[k] == v for k, v in made[2].items() if k.endswith(".dcm"))


def test_splits_share_no_patient_and_follow_the_shares():
    splits = [split_of(9, k, SHARES) for k in range(4000)]
    for name, share in zip(SPLITS, SHARES, strict=True):
        assert np.mean([s == name for s in splits]) == pytest.approx(share, abs=0.03)
    assert splits == [split_of(9, k, SHARES) for k in range(4000)]
    assert [split_of(8, k, SHARES) for k in range(50)] != splits[:50]


def test_a_case_depends_on_seed_and_patient_alone():
    a = generate_case(1, 5, size=64)
    generate_case(1, 6, size=64)
    np.random.seed(0)
    b = generate_case(1, 5, size=64)
    assert all(np.array_equal(x, y) for x, y in zip(a.images, b.images, strict=True))
    assert (a.truth, a.report, a.qa) == (b.truth, b.report, b.qa)
    assert generate_case(2, 5, size=64).truth != a.truth


@pytest.mark.parametrize("size", [64, 200, 333, 640])
def test_films_are_oblong_and_as_long_as_asked(size):
    shapes = {generate_case(0, k, size=size, lateral_share=1).images[0].shape for k in range(3)}
    assert all(max(s) in (size, size - 1, size + 1) for s in shapes) and len(shapes) > 1
    assert any(a != b for a, b in shapes)


def test_truth_does_not_depend_on_the_size_of_the_film():
    small, large = generate_case(0, 3, size=96), generate_case(0, 3, size=384)
    assert small.truth["findings"] == large.truth["findings"]
    assert small.truth["cardiothoracic_ratio"] == pytest.approx(large.truth["cardiothoracic_ratio"], abs=2e-3)
    assert small.report == large.report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"patients": 0}, "patients is 0"),
        ({"patients": 1, "size": 9}, "64 to 4096"),
        ({"patients": 1, "shares": (0.5, 0.2, 0.2)}, "sum to 1"),
        ({"patients": 1, "lateral_share": 2}, "lateral_share"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, words):
    with pytest.raises(SimulationError, match=words):
        simulate(tmp_path / "x", **arguments)


def test_a_folder_of_something_else_is_refused(made, tmp_path):
    with pytest.raises(SimulationError, match=r"other settings \(seed\)"):
        simulate(made[0], 8, seed=5, size=72, workers=1, shares=SHARES, lateral_share=0.6)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SimulationError, match="not empty"):
        simulate(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationError, match="output folder"):
        simulate(tmp_path / "file" / "x", 1)


def test_the_command_simulates_and_shows_examples(tmp_path):
    from pretrain.sources.chest.cli import app

    runner = CliRunner()
    said = runner.invoke(app, ["--help"])
    assert said.exit_code == 0 and "medvlm data simulate" in re.sub(r"\s+", " ", said.output)
    said = runner.invoke(app, [str(tmp_path / "d"), "--patients", "2", "--size", "64", "--workers", "1"])
    assert said.exit_code == 0, said.output
    assert len(list((tmp_path / "d").glob("*/p*/s0/0.dcm"))) == 2
