"""For launchers: ``torchrun --nproc_per_node 2 -m pretrain.training RECIPE strategy=fsdp2`` (or accelerate launch)."""

import logging
import sys

from vlm.errors import MedVLMError


def main() -> None:
    """Train the recipe named on the command line; an error that a person can act on is one sentence and status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from pretrain.training.loop import train
    from pretrain.training.recipe import TrainRecipe
    from vlm.recipe import load_recipe

    if len(sys.argv) < 2:
        sys.exit("usage: python -m pretrain.training RECIPE [key=value ...]")
    try:
        train(load_recipe(TrainRecipe, sys.argv[1], sys.argv[2:]))
    except MedVLMError as error:
        logging.getLogger(__name__).error("medvlm: %s", error)
        sys.exit(2)


if __name__ == "__main__":
    main()
