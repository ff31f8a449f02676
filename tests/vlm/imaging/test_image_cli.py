"""``medvlm image``: a PNG and a table, sentences for mistakes, examples in the help, and a fast start."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vlm.imaging import ImagingError
from vlm.imaging.cli import app

RUN = CliRunner()


def run(*arguments: object):
    return RUN.invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def test_show_renders_with_a_preset_and_prints_geometry(corpus, tmp_path):
    target = tmp_path / "brain.png"
    result = run("show", corpus["693_UNCR.dcm"], "--window", "brain", "--size", "128", "-o", target)
    assert result.exit_code == 0, result.output
    picture = np.array(Image.open(target))
    assert picture.shape == (128, 128) and picture.dtype == np.uint8
    for words in ("HU", "axial", "brain: centre 40, width 80", "padding"):
        assert words in result.output


def test_show_takes_numbers_and_frames(corpus, tmp_path):
    assert run("show", corpus["CT_small.dcm"], "--window=-600,1500", "-o", tmp_path / "a.png").exit_code == 0
    result = run("show", corpus["SC_rgb_rle_2frame.dcm"], "--frame", "1", "-o", tmp_path / "b.png")
    assert result.exit_code == 0 and "1 of 2" in result.output


def test_info_names_no_patient(corpus):
    result = run("info", corpus["CT_small.dcm"])
    assert result.exit_code == 0 and "128 x 128" in result.output
    assert "CompressedSamples" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "CT_small.dcm", "--window", "lungs"], "there are auto"),
        (["show", "MR_small.dcm", "--window", "lung"], "is in HU"),
        (["show", "CT_small.dcm", "--window", "1,2,3"], "CENTER,WIDTH"),
        (["show", "CT_small.dcm", "--frame", "7"], "no frame 7"),
        (["info", "rtplan.dcm"], "radiotherapy"),
        (["show", "CT_small.dcm", "-o", "/nowhere/x.png"], "cannot be written"),
    ],
)
def test_mistakes_are_met_with_a_sentence(corpus, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    command, name, *rest = arguments
    result = run(command, corpus[name], *rest)
    assert isinstance(result.exception, ImagingError) and words in str(result.exception)


def test_help_has_examples():
    result = RUN.invoke(app, ["show", "--help"], env={"COLUMNS": "120"})
    assert "medvlm image show chest.dcm" in result.output and "--window" in result.output


def test_importing_the_command_loads_nothing_heavy():
    code = "import sys, vlm.imaging.cli; print([m for m in ('torch', 'pydicom', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
