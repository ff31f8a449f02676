"""What a checkpoint holds, by name and whole, so that it loads at another number of ranks and another strategy.

``model.safetensors`` has every parameter and persistent buffer, ``optimizer.safetensors`` the moments of each
learning parameter under ``<parameter>/<key>``, ``state.json`` the step and the data state, ``rng_<rank>.pt`` the
random generators. Sharded tensors (FSDP2) are gathered on rank 0. DeepSpeed's ZeRO keeps its own files, which load at
the number of ranks that wrote them.
"""

import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from pretrain.training.checkpoint import CheckpointStore, is_no_space, no_space, write_checkpoint
from pretrain.training.errors import CheckpointError

log = logging.getLogger(__name__)


def save_state(
    accelerator: Accelerator, store: CheckpointStore, module: nn.Module, optimizer: Any, state: dict[str, Any]
) -> None:
    """Write the checkpoint of ``state['step']``; every rank calls this.

    Raises:
        CheckpointError: on every rank, when the disk is full.
    """
    state = {**state, "world": accelerator.num_processes, "zero": _is_zero(accelerator)}
    rngs = _gather_objects(accelerator, _rng_state())
    if _is_zero(accelerator):
        _save_zero(accelerator, store, module, state, rngs)
        return
    raw: Any = accelerator.unwrap_model(module)
    weights = _whole_weights(raw, keep=accelerator.is_main_process)
    moments = _whole_moments(raw, optimizer, keep=accelerator.is_main_process)

    def write(folder: Path) -> None:
        save_file(weights, folder / "model.safetensors")
        save_file(moments, folder / "optimizer.safetensors")
        _write_small(folder, state, rngs)

    _on_main(accelerator, store, state["step"], lambda: write_checkpoint(store, state["step"], write))


def load_state(accelerator: Accelerator, folder: Path, module: Any, optimizer: Any) -> dict[str, Any]:
    """Put a checkpoint back into the prepared module and optimizer; returns its ``state``.

    Raises:
        CheckpointError: it holds other parameters, or ZeRO state of another number of ranks.
    """
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if state["zero"] != _is_zero(accelerator):
        raise CheckpointError(
            f"{folder} was {'' if state['zero'] else 'not '}written by DeepSpeed: resume it with the same kind of "
            "strategy, or start a new run with model.init pointing at the exported model"
        )
    if state["zero"]:
        if state["world"] != accelerator.num_processes:
            raise CheckpointError(
                f"{folder} holds ZeRO state of {state['world']} ranks and this run has {accelerator.num_processes}: "
                f"launch {state['world']} ranks, or use strategy ddp or fsdp2, whose checkpoints load at any number"
            )
        module.load_checkpoint(str(folder), tag="zero")
    else:
        raw: Any = accelerator.unwrap_model(module)
        _load_weights(raw, folder / "model.safetensors")
        _load_moments(raw, optimizer, folder / "optimizer.safetensors")
    _restore_rng(folder, accelerator.process_index, state["step"])
    accelerator.wait_for_everyone()
    return state


def whole_weights(accelerator: Accelerator, module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a prepared module by name, gathered on rank 0 (empty elsewhere); every rank calls this."""
    if _is_zero(accelerator):
        gathered: Any = accelerator.get_state_dict(module)
        return {n: t.float().cpu() for n, t in (gathered or {}).items()} if accelerator.is_main_process else {}
    raw: Any = accelerator.unwrap_model(module)
    return _whole_weights(raw, keep=accelerator.is_main_process)


def _whole_weights(module: nn.Module, keep: bool) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by name on the CPU; a tied tensor is stored once."""
    weights, seen = {}, set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        whole = _whole(tensor)
        if keep:
            weights[name] = whole
    return weights


def _whole_moments(module: nn.Module, optimizer: Any, keep: bool) -> dict[str, torch.Tensor]:
    """Optimizer state by ``<parameter>/<key>``."""
    states = _inner(optimizer).state
    moments = {}
    for name, parameter in module.named_parameters():
        for key, value in sorted(states.get(parameter, {}).items()):
            whole = _whole(value)
            if keep:
                moments[f"{name}/{key}"] = whole
    return moments


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to("cpu").contiguous()


def _placed_like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    value = value.to(target.device)
    return distribute_tensor(value, target.device_mesh, target.placements) if isinstance(target, DTensor) else value


@torch.no_grad()
def _load_weights(module: nn.Module, file: Path) -> None:
    targets = module.state_dict(keep_vars=True)
    with safe_open(file, "pt") as stored:
        names = set(stored.keys())
        loaded = {id(targets[n]) for n in names if n in targets}
        missing = [n for n, t in targets.items() if n not in names and id(t) not in loaded]
        unknown = sorted(names - set(targets))
        if missing or unknown:
            raise CheckpointError(
                f"{file} belongs to another model: missing {missing[:3]}, unknown {unknown[:3]}; "
                "use another run folder for another model"
            )
        for name in sorted(names):
            targets[name].data.copy_(_placed_like(stored.get_tensor(name), targets[name]))


@torch.no_grad()
def _load_moments(module: nn.Module, optimizer: Any, file: Path) -> None:
    parameters = dict(module.named_parameters())
    states = _inner(optimizer).state
    with safe_open(file, "pt") as stored:
        for entry in sorted(stored.keys()):
            name, _, key = entry.rpartition("/")
            if name not in parameters:
                raise CheckpointError(f"{file} has moments of {name}, which this model lacks")
            value = stored.get_tensor(entry)
            # AdamW's step counter stays a plain CPU tensor unless the optimizer is fused on a GPU.
            parameter = parameters[name]
            if value.shape == parameter.shape:
                states[parameter][key] = _placed_like(value, parameter)
            else:
                states[parameter][key] = value.to(parameter.device)


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    return getattr(optimizer, "optimizer", optimizer)


def _save_zero(accelerator, store: CheckpointStore, engine, state: dict, rngs: list) -> None:
    box: list[Any] = [None]
    if accelerator.is_main_process:
        box[0] = str(store.begin(state["step"]))
    torch.distributed.broadcast_object_list(box, src=0)
    folder = Path(box[0])
    failure: Exception | None = None
    try:
        engine.save_checkpoint(str(folder), tag="zero", save_latest=False)
    except (OSError, RuntimeError) as error:
        failure = error
    failures = _gather_objects(accelerator, None if failure is None else is_no_space(failure))

    def finish() -> None:
        if any(f is not None for f in failures):
            store.abort(folder)
            if any(failures):
                raise no_space(store, state["step"])
            raise failure or CheckpointError(f"a rank could not write its part of {folder}; see its log")
        _write_small(folder, state, rngs)
        store.commit(state["step"], folder)

    _on_main(accelerator, store, state["step"], finish)


def _on_main(accelerator: Accelerator, store: CheckpointStore, step: int, action) -> None:
    """Run ``action`` on rank 0; if it fails, every rank raises, so that none waits for a dead one."""
    problem: Exception | None = None
    if accelerator.is_main_process:
        try:
            action()
        except Exception as error:  # passed on below, on every rank
            problem = error
    failed = _gather_objects(accelerator, None if problem is None else str(problem))[0]
    if problem is not None:
        raise problem
    if failed is not None:
        raise CheckpointError(failed)


def _write_small(folder: Path, state: dict, rngs: list) -> None:
    for rank, rng in enumerate(rngs):
        torch.save(rng, folder / f"rng_{rank}.pt")
    (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")


def _rng_state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    name, keys, pos, has_gauss, cached = np.random.get_state()
    state = {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), pos, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_rng(folder: Path, rank: int, step: int) -> None:
    file = folder / f"rng_{rank}.pt"
    if not file.is_file():  # more ranks than before: a fresh stream, the same in every such resume
        torch.manual_seed(1_000_003 * step + rank)
        log.info("rank %d has no random state in %s (fewer ranks wrote it): seeded from step and rank", rank, folder)
        return
    state = torch.load(file, weights_only=True)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _gather_objects(accelerator: Accelerator, value: Any) -> list[Any]:
    if accelerator.num_processes == 1:
        return [value]
    gathered: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def _is_zero(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type.value == "DEEPSPEED"
