"""The data command as people type it."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pretrain.cli_data import app
from pretrain.importing import ColumnError, DropLimitError, ImportSourceError

runner = CliRunner()


@pytest.fixture
def table(tmp_path):
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 4096, (32, 24)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,The lungs are clear <b>{i}</b>." for i in range(6)]
    (tmp_path / "t.csv").write_text("picture,report\n" + "\n".join([*rows, "gone.png,Lost."]))
    return tmp_path / "t.csv"


def call(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def imported(table, out):
    done = call(
        "import",
        table,
        "--map",
        "image=picture",
        "--out",
        out,
        "--max-drop",
        0.5,
        "--workers",
        0,
        "--licence",
        "CC0-1.0",
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_import_inspect_and_verify_tell_what_there_is(table, tmp_path):
    output = imported(table, tmp_path / "out")
    assert "train: 6 samples of 7 records written" in output and "dropped 1: missing image" in output
    assert (
        "was imported before"
        in call("import", table, "--map", "image=picture", "--out", tmp_path / "out", "--licence", "CC0-1.0").output
    )
    shown = call("inspect", tmp_path / "out/train", "--sheet", tmp_path / "s.html").output
    assert "6 samples, 6 images" in shown and "32 x 24 6" in shown and "missing image 1" in shown and "CC0-1.0" in shown
    page = (tmp_path / "s.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "&lt;b&gt;0&lt;/b&gt;" in page and "<b>0</b>" not in page
    call("inspect", tmp_path / "out/train", "--sheet", tmp_path / "s.png")
    assert Image.open(tmp_path / "s.png").size[0] > 256
    assert "6 samples, " in call("verify", tmp_path / "out", "--decode").output


def test_verify_names_the_damaged_key_and_ends_with_one(table, tmp_path):
    imported(table, tmp_path / "out")
    tar = tmp_path / "out/train/shard-000000.tar"
    data = bytearray(tar.read_bytes())
    at = data.index(b"The lungs are clear <b>4</b>")
    data[at] ^= 32
    tar.write_bytes(bytes(data))
    done = call("verify", tmp_path / "out")
    assert done.exit_code == 1
    assert "shard-000000.tar row-00000005: the bytes have another hash" in done.output


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--map", "image=pictur"), ColumnError, "did you mean 'picture'"),
        (("--map", "image=picture"), DropLimitError, "missing image: 1"),
        (("--format", "simulated"), ImportSourceError, "no .jsonl"),
    ],
)
def test_errors_reach_the_person(table, tmp_path, arguments, error, words):
    done = call("import", table, "--out", tmp_path / "out", "--workers", 0, *arguments)
    assert isinstance(done.exception, error) and words in str(done.exception)


def test_a_source_that_is_not_there_is_told(tmp_path):
    done = call("import", tmp_path / "nothing", "--out", tmp_path / "out")
    assert isinstance(done.exception, ImportSourceError) and "there is no file or folder" in str(done.exception)
    assert call("import", tmp_path, "--out", tmp_path / "out", "--map", "text").exit_code == 2


@pytest.mark.parametrize("command", ["import", "inspect", "verify"])
def test_help_has_examples(command):
    assert f"medvlm data {command}" in call(command, "--help").output
