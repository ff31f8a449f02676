"""``medvlm model``: build and describe vision-language models."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Build and describe vision-language models.")

_EPILOG_NEW = """Examples:

medvlm model new runs/start

medvlm model new runs/small --decoder-layers 6 --max-pixels 50176

medvlm model new runs/resampler --connector perceiver --connector-option num_queries=32

medvlm model new runs/big --decoder ~/models/qwen --tower vit_base_patch16_siglip_224 --vision-weights vit.safetensors
"""


@app.command(epilog=_EPILOG_NEW)
def new(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be empty or new.")],
    decoder: Annotated[
        str,
        typer.Option(help="smollm2, tiny (random), a folder of a causal language model, a .gguf file, or a hub name."),
    ] = "smollm2",
    tower: Annotated[str, typer.Option(help="small_cpu, test, or a timm ViT or NaFlex ViT by name.")] = "small_cpu",
    connector: Annotated[str, typer.Option(help="patch_merge_mlp, linear or perceiver.")] = "patch_merge_mlp",
    decoder_layers: Annotated[int | None, typer.Option(help="Keep this many decoder layers, spread evenly.")] = None,
    tower_option: Annotated[
        list[str] | None, typer.Option(help="timm option of the tower, key=value; may be repeated.")
    ] = None,
    connector_option: Annotated[
        list[str] | None, typer.Option(help="Option of the connector, key=value; may be repeated.")
    ] = None,
    pretrained_tower: Annotated[bool, typer.Option(help="timm's weights, from the hub or its cache.")] = False,
    vision_weights: Annotated[Path | None, typer.Option(help="timm weights in a local file.")] = None,
    min_pixels: Annotated[int, typer.Option(help="Smallest resized image, in pixels.")] = 64 * 64,
    max_pixels: Annotated[int, typer.Option(help="Largest resized image, in pixels.")] = 512 * 512,
    seed: Annotated[int, typer.Option(help="Seed of the random parts.")] = 0,
) -> None:
    """Build a model from names; print its parameters and the tokens that images become."""
    from vlm.build import CheckpointError, new_model, save
    from vlm.card import write_card

    _no_progress_bars()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} is there already and not an empty folder: name another, or remove it first")
    model, processor = new_model(
        decoder,
        tower,
        {"type": connector, **_options(connector_option)},
        decoder_layers=decoder_layers,
        tower_args=_options(tower_option),
        pretrained_tower=pretrained_tower,
        vision_weights=vision_weights,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        seed=seed,
    )
    save(model, processor, out)
    facts = {"decoder": decoder}
    if vision_weights or pretrained_tower:
        facts["vision_weights"] = vision_weights.name if vision_weights else f"timm's {tower}"
    write_card(model, processor, out, facts)
    _describe(model, processor, out)
    typer.echo(f"written to {out}; next: medvlm train recipes/instruction_tuning.yaml model.init={out}")


@app.command(epilog="Example: medvlm model info runs/start")
def info(folder: Annotated[Path, typer.Argument(help="A checkpoint folder.")]) -> None:
    """Print what a checkpoint is made of, its parameters, and the tokens that images become."""
    from vlm.build import load

    _no_progress_bars()
    model, processor = load(folder)
    _describe(model, processor, folder)


@app.command(epilog="Example: medvlm model card runs/tuned/model --evaluation results.json")
def card(
    folder: Annotated[Path, typer.Argument(help="A checkpoint folder.")],
    evaluation: Annotated[
        Path | None, typer.Option(help="JSON object of measure and value to put in the card.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="JSON object that describes the training data.")] = None,
) -> None:
    """Write the model card (README.md) of a checkpoint and print it."""
    from vlm.build import load
    from vlm.card import read_json, write_card

    given = {"evaluation": evaluation, "data": data}
    facts = {name: read_json(file) for name, file in given.items() if file is not None}
    _no_progress_bars()
    model, processor = load(folder)
    typer.echo(write_card(model, processor, folder, facts).read_text(encoding="utf-8"))


def _no_progress_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _options(pairs: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs with values read as YAML (numbers, true, null, lists), else as text."""
    import yaml

    from vlm.errors import MedVLMError

    options = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise MedVLMError(f"{pair!r} is no option: write key=value, as in num_queries=32")
        options[key.strip()] = yaml.safe_load(value)
    return options


def _describe(model: Any, processor: Any, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from vlm.build import parameter_counts, token_counts
    from vlm.card import TYPICAL_SIZES

    console, config = Console(), model.config
    counts = parameter_counts(model)
    parts = Table("part", "what", "parameters", title=str(folder), title_justify="left")
    parts.columns[2].justify = "right"
    vision, text = config.vision_config, config.text_config
    decoder = f"{text.model_type}, {text.num_hidden_layers} layers, {text.hidden_size} wide"
    parts.add_row("vision tower", f"{vision.name}, {vision.num_hidden_layers} layers", f"{counts['vision_tower']:,}")
    parts.add_row("connector", config.connector_config["type"], f"{counts['connector']:,}")
    parts.add_row("decoder", decoder, f"{counts['language_model'] + counts['lm_head']:,}")
    parts.add_row("all", "trained on simulated images only" if config.simulated_only else "", f"{counts['total']:,}")
    console.print(parts)
    sizes = Table("image (height x width)", "patches", "tokens")
    for (height, width), (rows, columns), tokens in token_counts(processor, TYPICAL_SIZES):
        sizes.add_row(f"{height} x {width}", f"{rows} x {columns}", str(tokens))
    console.print(sizes)
