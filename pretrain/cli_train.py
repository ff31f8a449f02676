"""``medvlm train``: run a recipe."""

import logging
from pathlib import Path

import typer

log = logging.getLogger(__name__)


def train(
    recipe: Path = typer.Argument(help="Recipe file, for example recipes/instruction_tuning.yaml."),
    overrides: list[str] | None = typer.Argument(None, metavar="[KEY=VALUE]...", help="Changes to the recipe."),
    fresh: bool = typer.Option(False, "--fresh", help="Refuse to resume: the run folder must not exist yet."),
) -> None:
    """Train a model as a recipe says, or go on with a run that was stopped.

    The run folder (key `run`) is resumed by itself when it holds the same recipe. Several processes:
    `torchrun --nproc_per_node 2 -m pretrain.training RECIPE strategy=fsdp2`.

    Examples:

      medvlm train recipes/vision_warmup.yaml data.train=work/shards/train run=runs/warmup

      medvlm train recipes/instruction_tuning.yaml model.init=runs/warmup/model optimizer.lr=2e-4

      medvlm train recipes/instruction_tuning_lora.yaml strategy=single steps=50 precision=fp32
    """
    from pretrain.training.errors import TrainingError
    from pretrain.training.loop import train as run_training
    from pretrain.training.recipe import TrainRecipe
    from vlm.recipe import load_recipe

    loaded = load_recipe(TrainRecipe, recipe, overrides or [])
    if fresh and Path(loaded.run).exists():
        raise TrainingError(f"{loaded.run} exists and --fresh was given: choose another folder with run=...")
    run = run_training(loaded)
    if run.finished:
        log.info("metrics %s, plot %s, model %s", run.metrics, run.plot, run.model)
