"""The model card: the README.md of a checkpoint folder, and the facts it was written from (model_card.json)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm.errors import MedVLMError

FACTS_FILE = "model_card.json"
CARD_FILE = "README.md"
TEMPLATE_FILE = Path(__file__).with_name("model_card.md.jinja")
TYPICAL_SIZES = [(256, 256), (512, 512), (1024, 1024), (2544, 3056)]
"""Height and width in pixels that token counts are shown for; the last is a full digital radiograph."""

_SECTIONS = ("data", "evaluation")


class CardError(MedVLMError):
    """The facts of a model card could not be read."""


def render_card(model: Any, processor: Any, facts: Mapping[str, Any] | None = None, name: str = "model") -> str:
    """The card as Markdown.

    `facts` may hold `title`, `data` and `evaluation` (dictionaries of name to value); everything else in it describes
    the training. Values may be numbers, strings, or dictionaries (shown as `a = 1, b = 2`).
    """
    import jinja2

    from vlm.build import parameter_counts, token_counts

    facts = dict(facts or {})
    config, image_processor = model.config, processor.image_processor
    training = {key: value for key, value in facts.items() if key not in (*_SECTIONS, "title")}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["thousands"] = "{:,}".format
    return environment.from_string(TEMPLATE_FILE.read_text(encoding="utf-8")).render(
        title=facts.get("title", name),
        folder_name=name,
        simulated=config.simulated_only,
        trained=bool(training) and "steps" in training,
        tower_random=not facts.get("vision_weights"),
        tower=_tower(config.vision_config),
        connector=_flat(config.connector_config),
        decoder=_decoder(config.text_config),
        counts=parameter_counts(model),
        min_pixels=image_processor.min_pixels,
        max_pixels=image_processor.max_pixels,
        sizes=token_counts(processor, TYPICAL_SIZES),
        training=_rows(training),
        data=_rows(facts.get("data") or {}),
        evaluation=_rows(facts.get("evaluation") or {}),
    )


def write_card(model: Any, processor: Any, folder: str | Path, facts: Mapping[str, Any] | None = None) -> Path:
    """Write README.md and model_card.json into a checkpoint folder; facts already there are kept unless given anew."""
    folder = Path(folder)
    known = {**read_facts(folder), **(facts or {})}
    if known:
        (folder / FACTS_FILE).write_text(json.dumps(known, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
    card = folder / CARD_FILE
    card.write_text(render_card(model, processor, known, folder.name), encoding="utf-8")
    return card


def read_facts(folder: Path) -> dict[str, Any]:
    """Facts that an earlier card was written from; none if there are none."""
    file = folder / FACTS_FILE
    return read_json(file) if file.is_file() else {}


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CardError with what is wrong."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CardError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(facts, dict):
        raise CardError(f"{file} must hold a JSON object of name and value, not a {type(facts).__name__}")
    return facts


def _tower(vision: Any) -> str:
    options = f" ({_flat(vision.model_args)})" if vision.model_args else ""
    return f"timm `{vision.name}`{options}, patches of {vision.patch_size} x {vision.patch_size}"


def _decoder(text: Any) -> str:
    return f"{text.model_type}, {text.num_hidden_layers} layers, {text.hidden_size} wide, {text.vocab_size:,} tokens"


def _rows(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(key).replace("_", " "), _show(value)) for key, value in section.items() if value not in (None, {}, [])]


def _flat(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_show(value)}" for key, value in options.items() if value is not None)


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flat(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_show(item) for item in value)
    return str(value)
