"""One accelerator for each strategy: single process, DDP, FSDP2, or DeepSpeed ZeRO-1, 2, 3.

The recipe decides; ``accelerate launch`` and ``torchrun`` only start the processes. On a machine without a GPU the
processes talk through gloo.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType

from pretrain.training.errors import TrainingError
from pretrain.training.recipe import TrainRecipe


def make_accelerator(recipe: TrainRecipe, block_classes: Sequence[str]) -> Accelerator:
    """The accelerator for ``recipe.strategy``.

    Args:
        recipe: gives strategy, precision and clipping.
        block_classes: names of the module classes that FSDP2 shards as units.

    Raises:
        TrainingError: a sharded strategy without its launcher, or one process strategy under a launcher.
    """
    # accelerate keeps its settings for the life of a process; a second run in it (quickstart: warm-up, then tuning)
    # may have others. Its own tests reset it this way (accelerate 1.15).
    AcceleratorState._reset_state()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    cpu = not torch.cuda.is_available()
    if recipe.strategy == "single" and world > 1:
        raise TrainingError(f"strategy=single was launched with {world} processes: use strategy=ddp, fsdp2 or zero2")
    if recipe.strategy != "single" and "RANK" not in os.environ:
        raise TrainingError(
            f"strategy={recipe.strategy} needs a launcher: torchrun --nproc_per_node 2 -m pretrain.training RECIPE "
            f"strategy={recipe.strategy} (or accelerate launch)"
        )
    if recipe.strategy == "fsdp2" or recipe.strategy.startswith("zero"):
        os.environ.pop("ACCELERATE_USE_CPU", None)  # `accelerate launch --cpu` says it, and then nothing is sharded
    precision = "bf16" if recipe.precision == "bf16" else "no"
    if recipe.strategy.startswith("zero"):
        return _checked(_zero(recipe, precision, cpu, world), DistributedType.DEEPSPEED)
    if recipe.strategy == "fsdp2":
        if cpu:
            _sharding_on_cpu()
        plugin = _fsdp2(block_classes)
        return _checked(Accelerator(mixed_precision=precision, fsdp_plugin=plugin), DistributedType.FSDP)
    # Every parameter gets a gradient in every pass (the dummy image sees to it), so DDP need not look for unused ones.
    handlers: list[Any] = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
    return Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=handlers)


def _sharding_on_cpu() -> None:
    """Let accelerate shard on a CPU: its MULTI_CPU mode knows DDP only and passes over an FSDP plugin (1.15).

    The process group is gloo's and the device the CPU; the type only opens the branch that reads the plugin.
    """
    state = PartialState(backend="gloo")
    if state.device is None or state.device.type != "cpu":
        raise TrainingError(f"accelerate chose the device {state.device} on a machine without a GPU")
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _checked(accelerator: Accelerator, wanted: DistributedType) -> Accelerator:
    """accelerate falls back to plain data parallelism in silence; here that is an error."""
    if accelerator.distributed_type != wanted:
        raise TrainingError(
            f"accelerate runs as {accelerator.distributed_type.value}, not {wanted.value}: unset the ACCELERATE_* "
            "variables, or launch with torchrun, which sets none"
        )
    return accelerator


def _fsdp2(block_classes: Sequence[str]):
    from accelerate import FullyShardedDataParallelPlugin

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=list(block_classes),
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        state_dict_type="SHARDED_STATE_DICT",
    )


def zero_config(recipe: TrainRecipe, world: int) -> dict:
    """DeepSpeed's configuration; batch sizes are spelled out because it refuses to guess them (platform.md).

    Accumulation is the loop's: it says where the boundary is, so DeepSpeed is told 1.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": world,
        "gradient_clipping": recipe.optimizer.clip,
        "bf16": {"enabled": recipe.precision == "bf16"},
        "zero_optimization": {
            "stage": int(recipe.strategy[-1]),
            "stage3_gather_16bit_weights_on_model_save": True,
            "overlap_comm": False,
            "contiguous_gradients": True,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def _zero(recipe: TrainRecipe, precision: str, cpu: bool, world: int) -> Accelerator:
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"  # what accelerate launch sets; torchrun does not
    if cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed  # noqa: F401
    except ImportError as error:
        raise TrainingError(f"strategy={recipe.strategy} needs DeepSpeed: `pip install medvlm[train]`") from error
    from accelerate.utils import DeepSpeedPlugin

    plugin = DeepSpeedPlugin(hf_ds_config=zero_config(recipe, world))
    if cpu:
        PartialState(backend="gloo")
    return Accelerator(mixed_precision=precision, deepspeed_plugin=plugin)
