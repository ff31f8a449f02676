"""The card says what must be said; the command builds, describes and refuses."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import vlm.cli
from vlm.build import load, save
from vlm.card import CardError, render_card, write_card
from vlm.errors import MedVLMError


def test_card_of_simulated_weights_says_so(tiny, tmp_path):
    model, processor = tiny
    model.config.simulated_only = True
    save(model, processor, tmp_path)
    facts = {"stage": "instruction_tuning", "steps": 10, "train": {"loss": 0.51234567}}
    text = write_card(model, processor, tmp_path, facts).read_text()
    assert "Trained on simulated radiographs; not for diagnosis" in text
    assert "- steps: 10" in text and "- train: loss = 0.5123" in text
    assert "Not measured" in text
    assert f"{sum(p.numel() for p in model.parameters()):,}" in text
    again = write_card(model, processor, tmp_path, {"evaluation": {"balanced accuracy": 0.81}}).read_text()
    assert "- steps: 10" in again and "- balanced accuracy: 0.81" in again  # earlier facts are kept


def test_cards_of_untrained_and_of_other_weights(tiny):
    model, processor = tiny
    assert "Untrained: not for diagnosis" in render_card(model, processor)
    text = render_card(model, processor, {"steps": 3, "data": {"source": "reports of a hospital"}})
    assert "For research; not for diagnosis" in text and "simulat" not in text
    assert "- source: reports of a hospital" in text


def test_code_of_the_card_runs(tiny, tmp_path):
    """The example in the card is what a reader will paste."""
    model, processor = tiny
    save(model, processor, tmp_path)
    text = render_card(model, processor)
    code = text.split("```python\n")[1].split("```")[0]
    from pydicom.data import get_testdata_file

    code = code.replace('"chest.dcm"', repr(get_testdata_file("CT_small.dcm"))).replace("=64)", "=2)")
    said = []
    exec(compile(code, "card", "exec"), {"folder": str(tmp_path), "print": said.append})
    (answer,) = said
    assert "Is there an effusion?" in answer  # the question, and two tokens behind it


def test_command_builds_describes_and_writes_the_card(tmp_path):
    run = CliRunner().invoke
    out = tmp_path / "new"
    arguments = ["new", str(out), "--decoder", "tiny", "--tower", "test", "--connector", "perceiver"]
    made = run(vlm.cli.app, [*arguments, "--connector-option", "num_queries=7", "--connector-option", "heads=2"])
    assert made.exit_code == 0, made.output
    assert "512 x 512" in made.output and " 7 " in made.output
    model, _ = load(out)
    assert model.config.connector_config["num_queries"] == 7
    assert f"{sum(p.numel() for p in model.parameters()):,}" in made.output
    assert "Untrained" in (out / "README.md").read_text()
    described = run(vlm.cli.app, ["info", str(out)])
    assert "perceiver" in described.output
    (tmp_path / "scores.json").write_text(json.dumps({"accuracy": {"value": 0.9, "low": 0.8}}))
    written = run(vlm.cli.app, ["card", str(out), "--evaluation", str(tmp_path / "scores.json")])
    assert "- accuracy: value = 0.9, low = 0.8" in written.output
    again = run(vlm.cli.app, arguments)
    assert isinstance(again.exception, MedVLMError) and "not an empty folder" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "OUT", "--connector-option", "queries"], "write key=value"),
        (["new", "OUT", "--connector", "mlp"], "unknown connector 'mlp'"),
        (["new", "OUT", "--decoder", "tiny", "--tower", "resnet18"], "not a vision transformer"),
        (["info", "OUT"], "there is no folder"),
        (["card", "OUT"], "there is no folder"),
    ],
)
def test_command_refuses_with_a_sentence(tmp_path, arguments, sentence):
    result = CliRunner().invoke(vlm.cli.app, [a.replace("OUT", str(tmp_path / "out")) for a in arguments])
    assert isinstance(result.exception, MedVLMError)
    assert sentence in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_damaged_facts_are_named(tiny, tmp_path):
    model, processor = tiny
    (tmp_path / "model_card.json").write_text("[1]")
    with pytest.raises(CardError, match=r"model_card\.json must hold a JSON object"):
        write_card(model, processor, tmp_path)


def test_importing_the_command_loads_nothing_heavy():
    code = "import sys, vlm.cli; print([m for m in ('torch', 'transformers', 'timm') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
