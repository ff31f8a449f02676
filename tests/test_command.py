"""The command: quick to answer, every subcommand reachable and explained, errors in one sentence."""

import subprocess
import sys

import pytest

SUBCOMMANDS = [
    ["quickstart"],
    ["doctor"],
    ["image", "show"],
    ["image", "info"],
    ["data", "simulate"],
    ["data", "import"],
    ["data", "inspect"],
    ["data", "verify"],
    ["data", "deidentify"],
    ["data", "reidentify"],
    ["model", "new"],
    ["model", "info"],
    ["model", "card"],
    ["train"],
    ["serve"],
    ["chat"],
    ["predict"],
    ["bench", "measure"],
    ["bench", "report"],
    ["met", "build"],
    ["met", "show"],
    ["met", "search"],
    ["met", "path"],
    ["met", "export"],
    ["met", "tag"],
    ["met", "count"],
    ["met", "page"],
    ["met", "coverage"],
]


def medvlm(*arguments):
    return subprocess.run([sys.executable, "-m", "medvlm", *arguments], capture_output=True, text=True, timeout=120)


def test_help_loads_nothing_heavy():
    heavy = ("torch", "transformers", "vllm", "timm", "pydicom")
    code = f"import sys, medvlm; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_subcommand_is_reachable_and_shows_an_example():
    import medvlm as command

    root = __import__("typer").main.get_command(command.app)
    for path in SUBCOMMANDS:
        node = root
        for name in path:
            node = node.commands[name]  # type: ignore[attr-defined]
        text = f"{node.help or ''} {node.epilog or ''}"
        assert "medvlm " + " ".join(path) in text, f"{path}: no example in the help"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["image", "show", "no-such-file.dcm"], "no-such-file.dcm"),
        (["train", "recipes/no_such.yaml"], "no_such.yaml"),
        (["model", "info", "."], "."),
        (["data", "verify", "no-such-folder"], "no-such-folder"),
        (["serve", "no-such-model"], "no-such-model"),
        (["bench", "report", "no-such-run"], "no-such-run"),
    ],
)
def test_what_is_missing_is_named_in_a_sentence_and_the_status_is_2(arguments, said):
    done = medvlm(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_quickstart_folder_keeps_its_settings(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "settings.json").write_text('{"seed": 0, "patients": 100, "size": 256, "held_out_studies": 10}')
    done = medvlm("quickstart", "--out", str(tmp_path), "--seed", "1")
    assert done.returncode == 2
    assert "seed 0 -> 1" in " ".join(done.stderr.split())
