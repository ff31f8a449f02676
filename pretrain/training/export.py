"""The result of a run: a plain transformers checkpoint with a model card, written whole or not at all."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from pretrain.training.checkpoint import is_no_space
from pretrain.training.errors import TrainingError

log = logging.getLogger(__name__)


def export_model(model: Any, processor: Any, folder: Path, card: dict[str, Any], simulated: bool) -> Path:
    """Merge adapters, write weights, configuration, tokenizer, processor and card into ``folder``.

    Args:
        model: the vision-language model or its PEFT wrapper, whole and on one process.
        processor: its processor.
        folder: replaced if it exists.
        card: facts for the model card.
        simulated: the data of this run were simulated; the flag of the configuration says so if all others were too.

    Raises:
        TrainingError: no space is left.
    """
    from vlm.build import save
    from vlm.card import write_card

    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.simulated_only = simulated
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save(model.to(torch.float32), processor, temporary)
        write_card(model, processor, temporary, card)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_no_space(error):
            raise TrainingError(
                f"no space left on the disk that holds {folder} while the model was written; the checkpoints "
                "are whole: free some space and run the same command again"
            ) from error
        raise
    if folder.exists():
        shutil.rmtree(folder)
    os.rename(temporary, folder)
    return folder
