"""The one training loop: any stage, any strategy, exact resume.

    from pretrain.training.loop import train
    train(load_recipe(TrainRecipe, "recipes/instruction_tuning.yaml"))

A step is a global batch of the plan, cut among ranks, packed into passes. The loss of a step is the sum over all its
targets divided by their number over all ranks and passes, so neither ranks nor packing change what is optimised.
"""

import contextlib
import logging
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from pretrain.shards.errors import DataError
from pretrain.training.batches import Batch, idle_batch
from pretrain.training.checkpoint import CheckpointStore
from pretrain.training.data import (
    StepDataset,
    StepWork,
    check_contamination,
    data_manifest,
    open_plan,
    simulated_only,
    step_loader,
)
from pretrain.training.errors import TrainingError
from pretrain.training.evaluate import Evaluation
from pretrain.training.export import export_model
from pretrain.training.flops import StepShape, peak_flops
from pretrain.training.groups import describe_groups, make_optimizer
from pretrain.training.metrics import MetricsWriter, plot_losses, read_rows
from pretrain.training.progress import StepProgress, describe
from pretrain.training.recipe import TrainRecipe
from pretrain.training.runfolder import RunFolder, environment
from pretrain.training.schedule import learning_rate_factor
from pretrain.training.stages import Stage, build_model, build_stage
from pretrain.training.state import load_state, save_state, whole_weights
from pretrain.training.strategy import make_accelerator

log = logging.getLogger(__name__)


def train(recipe: TrainRecipe) -> RunFolder:
    """Run (or resume, or find finished) the training that ``recipe`` describes; the result is ``run/model``.

    Raises:
        TrainingError, CheckpointError, DataError: see their sentences; the run folder stays resumable.
    """
    run = RunFolder(Path(recipe.run))
    if run.finished:
        run.open(recipe)
        log.info("%s is finished: its model is %s", run.path, run.model)
        return run
    Trainer(recipe, run).run_to_end()
    return run


class Trainer:
    """One process's part in a run; the parts of all ranks call the same methods in the same order."""

    def __init__(self, recipe: TrainRecipe, run: RunFolder):
        self.recipe, self.run = recipe, run
        _seed_everything(recipe)
        self.plan = open_plan(recipe)
        self.stage: Stage = build_stage(recipe, self.plan)
        self.accelerator: Accelerator = make_accelerator(recipe, self.stage.block_classes)
        self.main = self.accelerator.is_main_process
        self._open_folder()
        optimizer = make_optimizer(self.stage.groups, recipe.optimizer)
        self.module, self.optimizer = self.accelerator.prepare(self.stage.objective, optimizer)
        self.store = CheckpointStore(run.checkpoints, recipe.checkpoint.keep)
        self.evaluation = Evaluation(recipe, self.stage)
        self.peak, self.peak_source = peak_flops(
            self.accelerator.device, torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        )
        self.dropped: Counter[str] = Counter()
        self.samples = 0
        self.stopped: str | None = None

    def run_to_end(self) -> None:
        """Train from the newest checkpoint (or the start) to the last step, then export the model."""
        start = self._resume()
        with _stop_on_signal(self), self._metrics(start) as metrics:
            done = self._train(start, metrics)
            if self.stopped:
                return
            self._evaluate(done, metrics)
        self._finish(done)

    def _train(self, start: int, metrics: "MetricsWriter | None") -> int:
        recipe, accelerator = self.recipe, self.accelerator
        dataset = StepDataset(
            self.plan,
            self.stage.encode,
            recipe.batch,
            self.stage.pad_id,
            self.stage.dummy,
            accelerator.process_index,
            accelerator.num_processes,
        )
        window = _Window()
        deadline = time.monotonic() + 60 * recipe.minutes if recipe.minutes else math.inf
        done = start
        with StepProgress(self.run.path.name, start, recipe.steps, self.main) as progress:
            for work in step_loader(dataset, start, recipe.steps, recipe.data.workers):
                window.add(self._step(work))
                self._note(work)
                done = work.step + 1
                row = None
                if done % recipe.log_every == 0 or done == recipe.steps:
                    row = self._report(done, window, metrics)
                    window = _Window()
                progress.step(done, row)
                if done < recipe.steps and recipe.eval.every and done % recipe.eval.every == 0:
                    self._evaluate(done, metrics)
                    window.restart_clock()
                late = time.monotonic() > deadline
                stop = self._any_rank(self.stopped is not None or late)
                if stop or done % recipe.checkpoint.every == 0 or done == recipe.steps:
                    self._checkpoint(done)
                    window.restart_clock()
                if stop:
                    self._say_stopped(done, late)
                    break
        return done

    def _step(self, work: StepWork) -> dict[str, Any]:
        """One optimizer step; returns sums over this rank's passes."""
        accelerator, world = self.accelerator, self.accelerator.num_processes
        targets, passes = self._agree(work)
        self._set_learning_rate(work.step)
        sums: dict[str, torch.Tensor] = {}
        shape = StepShape()
        for i in range(passes):
            batch = self._pass(work, i)
            last = i == passes - 1
            accelerator.sync_gradients = last
            with contextlib.nullcontext() if last else accelerator.no_sync(self.module):
                output = self.module(batch.tensors)
                # Every strategy averages gradients over ranks; the factor turns that into the sum over all targets.
                accelerator.backward(output["loss"] * (world / targets))
            for name, value in output.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            shape = shape + batch.shape
        norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"sums": sums, "targets": targets, "norm": norm, "shape": shape, "samples": len(work.keys)}

    def _pass(self, work: StepWork, i: int) -> Batch:
        if i < len(work.batches):
            return work.batches[i].to(self.accelerator.device)
        return idle_batch(self.stage.dummy, self.stage.findings).to(self.accelerator.device)

    def _agree(self, work: StepWork) -> tuple[int, int]:
        """Targets of the step over all ranks, and the largest number of passes of a rank."""
        targets, passes = work.targets, len(work.batches)
        if self.accelerator.num_processes > 1:
            numbers = torch.tensor([targets, passes], device=self.accelerator.device)
            everyone = _gather(self.accelerator, numbers).view(-1, 2)
            targets, passes = int(everyone[:, 0].sum()), int(everyone[:, 1].max())
        if targets == 0:
            raise TrainingError(
                f"step {work.step}: none of its samples has anything to learn from ({dict(self._reasons(work))}): "
                "check data.train, batch.row_tokens and batch.row_patches"
            )
        return targets, passes

    def _clip(self) -> float:
        limit = self.recipe.optimizer.clip or math.inf
        norm: Any = self.accelerator.clip_grad_norm_(self.module.parameters(), limit)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return float("nan") if norm is None else float(norm)

    def _set_learning_rate(self, step: int) -> None:
        factor = learning_rate_factor(self.recipe.schedule, step, self.recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _report(self, done: int, window: "_Window", metrics: "MetricsWriter | None") -> dict[str, Any]:
        row = window.row(self.accelerator, self.stage.flops, self.peak)
        self.samples = done * self.recipe.batch.samples
        rates = {g.get("name", str(i)): g["lr"] for i, g in enumerate(self.optimizer.param_groups)}
        row = {"kind": "train", "step": done, "samples": self.samples, **row, "lr": max(rates.values())}
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the loss is {row['loss']} at step {done}: lower optimizer.lr or raise schedule.warmup_steps, and run "
                f"again in another folder; the last checkpoint in {self.run.checkpoints} is from before"
            )
        if metrics is not None:
            metrics.write(row)
            log.info("step %d of %d  %s", done, self.recipe.steps, describe(row))
        return row

    def _evaluate(self, done: int, metrics: "MetricsWriter | None") -> None:
        result = self.evaluation.run(self.module, self.accelerator)
        if result and metrics is not None:
            self.samples = done * self.recipe.batch.samples
            metrics.write({"kind": "eval", "step": done, "samples": self.samples, **result})
            log.info("held out after %d steps: %s", done, self.evaluation.describe(result))

    def _checkpoint(self, done: int) -> None:
        position = done * self.recipe.batch.samples
        state = {"step": done, "data": self.plan.state(position), "dropped": dict(self.dropped)}
        save_state(self.accelerator, self.store, self.module, self.optimizer, state)

    def _resume(self) -> int:
        found = self.store.latest() if self.main else None
        step = self._broadcast(None if found is None else found[0])
        if step is None:
            return 0
        state = load_state(self.accelerator, self.store.path(step), self.module, self.optimizer)
        self.plan.resume(state["data"])
        self.dropped = Counter(state["dropped"])
        if self.main:
            log.info("resumed %s from step %d", self.run.path, state["step"])
        return int(state["step"])

    def _finish(self, done: int) -> None:
        sharded = self.recipe.strategy in ("fsdp2", "zero1", "zero2", "zero3")
        weights = whole_weights(self.accelerator, self.module) if sharded else None
        if not self.main:
            self.accelerator.wait_for_everyone()
            return
        model, processor = self.stage.model, self.stage.processor
        if weights is not None:
            _leave_zero3()
            model, processor = build_model(self.recipe)
            _load_named(model, self.stage.objective.model_weights(weights))
        simulated = simulated_only(self.plan) and self.stage.simulated_before
        rows = read_rows(self.run.metrics)
        summary = {
            "stage": self.recipe.stage,
            "steps": done,
            "samples": done * self.recipe.batch.samples,
            "simulated_only": simulated,
            "dropped": dict(self.dropped),
            "peak_flops": self.peak,
            "peak_source": self.peak_source,
            "train": next((r for r in reversed(rows) if r["kind"] == "train"), None),
            "eval": next((r for r in reversed(rows) if r["kind"] == "eval"), None),
        }
        export_model(model, processor, self.run.model, _card_facts(summary, self.plan), simulated)
        plot_losses(self.run)
        self.run.record("summary", summary)
        for reason, count in self.dropped.items():
            log.warning("%d samples left out: %s", count, reason)
        log.info("the model is %s", self.run.model)
        self.accelerator.wait_for_everyone()

    def _open_folder(self) -> None:
        problem: Exception | None = None
        checked: dict[str, Any] = {}
        if self.main:
            try:
                checked = check_contamination(self.plan, self.recipe)
                self.run.open(self.recipe)
            except (TrainingError, DataError) as error:
                problem = error
        failed = self._broadcast(None if problem is None else str(problem))
        if problem is not None:
            raise problem
        if failed is not None:
            raise TrainingError(failed)
        if self.main:
            self.run.record("environment", environment())
            self.run.record("data", data_manifest(self.plan, self.recipe) | {"contamination": checked})
            for line in describe_groups(self.stage.groups):
                log.info("%s", line)

    @contextlib.contextmanager
    def _metrics(self, start: int) -> "Iterator[MetricsWriter | None]":
        if not self.main:
            yield None
            return
        config = self.recipe.model_dump(mode="json")
        writer = MetricsWriter(self.run, start, self.recipe.tensorboard, self.recipe.wandb, config)
        try:
            yield writer
        finally:
            writer.close()

    def _note(self, work: StepWork) -> None:
        """Count what was left out, and with ``trace_samples`` keep the keys of the step."""
        for reason, keys in work.dropped.items():
            if reason not in self.dropped:
                log.warning("sample %s is left out: %s (said once; the summary counts)", keys[0], reason)
            self.dropped[reason] += len(keys)
        if self.recipe.trace_samples:
            rank = self.accelerator.process_index
            with (self.run.path / f"samples_rank{rank}.txt").open("a", encoding="utf-8") as stream:
                stream.write(f"{work.step} {' '.join(work.keys)}\n")

    def _reasons(self, work: StepWork) -> Iterator[tuple[str, int]]:
        yield from ((reason, len(keys)) for reason, keys in work.dropped.items())

    def _say_stopped(self, done: int, late: bool) -> None:
        self.stopped = self.stopped or ("the time limit" if late else "another rank")
        if self.main and done < self.recipe.steps:
            log.info("stopped after step %d (%s); run the same command to go on", done, self.stopped)
        if done >= self.recipe.steps:
            self.stopped = None

    def _any_rank(self, value: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return value
        flag = torch.tensor([int(value)], device=self.accelerator.device)
        return bool(_gather(self.accelerator, flag).any())

    def _broadcast(self, value: Any) -> Any:
        if self.accelerator.num_processes == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


def _gather(accelerator: Accelerator, tensor: torch.Tensor) -> torch.Tensor:
    """Concatenated over ranks along the first dimension, on every rank."""
    gathered: Any = accelerator.gather(tensor)
    return gathered


class _Window:
    """Sums over the steps between two reports."""

    def __init__(self):
        self.sums: dict[str, torch.Tensor] = {}
        self.targets, self.steps, self.samples = 0, 0, 0
        self.norm, self.shape = 0.0, StepShape()
        self.start, self.paused = time.perf_counter(), 0.0

    def add(self, step: dict[str, Any]) -> None:
        for name, value in step["sums"].items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.targets += step["targets"]
        self.steps += 1
        self.samples += step["samples"]
        self.norm += step["norm"]
        self.shape = self.shape + step["shape"]
        self.last = time.perf_counter()

    def restart_clock(self) -> None:
        """Leave out what was not training (evaluation, a checkpoint) since the last step."""
        if self.steps:
            self.paused += time.perf_counter() - self.last
        else:
            self.start = time.perf_counter()

    def row(self, accelerator: Accelerator, flops: Any, peak: float) -> dict[str, Any]:
        """Means over the window and all ranks: loss and its parts for each target, speed, MFU."""
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize(accelerator.device)
        seconds = time.perf_counter() - self.start - self.paused
        names = sorted(self.sums)
        mine = [float(self.sums[n]) for n in names]
        mine += [self.samples, self.shape.tokens, self.shape.patches, flops.step(self.shape)]
        totals = torch.tensor(mine, dtype=torch.float64, device=accelerator.device)
        if accelerator.num_processes > 1:
            totals = _gather(accelerator, totals[None]).sum(0)
        *losses, samples, tokens, patches, operations = totals.tolist()
        row = {n: value / self.targets for n, value in zip(names, losses, strict=True)}
        return {
            **row,
            "grad_norm": self.norm / self.steps,
            "targets": self.targets,
            "samples_per_second": samples / seconds,
            "tokens_per_second": tokens / seconds,
            "patches_per_second": patches / seconds,
            "step_seconds": seconds / self.steps,
            "mfu": operations / seconds / (peak * accelerator.num_processes),
        }


def _leave_zero3() -> None:
    """Models built from here on are whole: under ZeRO-3 transformers splits them, and one rank builds alone."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def _card_facts(summary: dict[str, Any], plan: Any) -> dict[str, Any]:
    """The summary in the sections of the model card."""
    last = summary["train"] or {}
    return {
        "title": f"medvlm after {summary['stage'].replace('_', ' ')}",
        "stage": summary["stage"],
        "steps": summary["steps"],
        "samples": summary["samples"],
        "last training loss": round(last["loss"], 4) if last else "unknown",
        "data": {s.name: f"{len(s)} samples, licence {s.manifest.get('licence', 'unknown')}" for s in plan.sources},
        "evaluation": {k: v for k, v in (summary["eval"] or {}).items() if k not in ("kind", "step", "samples")},
    }


def _load_named(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Load gathered weights; what the objective did not hold (the decoder in the warm-up) stays as it was built."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected:
        raise TrainingError(f"the trained weights have names that the model lacks: {unexpected[:3]}")
    log.debug("%d tensors of the model were not trained in this stage", len(missing))


def _seed_everything(recipe: TrainRecipe) -> None:
    random.seed(recipe.seed)
    np.random.seed(recipe.seed % 2**32)
    torch.manual_seed(recipe.seed)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(recipe.deterministic, warn_only=True)
    # That also fills fresh memory with NaN, which finds bugs and takes a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM end the run after the step in flight, with a checkpoint; a second one ends it at once."""

    def ask(number: int, _frame: Any) -> None:
        if trainer.stopped:
            raise KeyboardInterrupt
        trainer.stopped = signal.Signals(number).name

    kept = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            kept[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread: signals are the caller's
        log.debug("training runs outside the main thread: signals are left alone")
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
