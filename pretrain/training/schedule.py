"""Learning-rate curves as pure functions of the step; the schedule has no state beside the step number."""

import math

from pretrain.training.recipe import ScheduleSection


def learning_rate_factor(schedule: ScheduleSection, step: int, steps: int) -> float:
    """Factor on every group's learning rate for optimizer step ``step`` of ``steps`` (counted from 0), in [0, 1].

    Warm-up rises linearly and reaches 1 at step ``warmup_steps``. ``wsd`` (warm-up, stable, decay) stays at 1 and falls
    linearly over the last ``decay_share`` of the steps (Hu et al. 2024, MiniCPM, section 4).
    """
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    span = max(1, steps - schedule.warmup_steps)
    progress = min(1.0, (step - schedule.warmup_steps) / span)
    if schedule.kind == "constant":
        shape = 1.0
    elif schedule.kind == "linear":
        shape = 1.0 - progress
    elif schedule.kind == "cosine":
        shape = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        shape = min(1.0, (1.0 - progress) / schedule.decay_share)
    return schedule.floor + (1.0 - schedule.floor) * shape
