"""What a training recipe may say; read with :func:`vlm.recipe.load_recipe`.

Every recipe drives the same loop. ``stage`` chooses the objective, ``groups`` says which modules learn and how fast,
``batch`` says how many samples make one optimizer step, whatever the number of ranks.
"""

from typing import Literal

from pydantic import Field, model_validator

from vlm.recipe import RecipeModel

Stage = Literal["vision_warmup", "connector_alignment", "instruction_tuning", "instruction_tuning_lora"]
Strategy = Literal["single", "ddp", "fsdp2", "zero1", "zero2", "zero3"]


class ModelSection(RecipeModel):
    """The model to start from: a checkpoint folder, or a new one from names (see ``vlm.build.new_model``).

    Attributes:
        init: checkpoint folder (plain transformers format), for example the ``model`` folder of an earlier run.
        decoder, tower, connector, options: arguments of ``new_model`` when ``init`` is not given.
    """

    init: str | None = None
    decoder: str | None = None
    tower: str | None = None
    connector: str | None = None
    options: dict = Field(default_factory=dict)


class SourceSection(RecipeModel):
    """One shard folder and its weight: how often an epoch shows each sample of it.

    ``name`` is needed where two folders were imported under the same name. ``weights`` is a file of `medvlm data
    weights`, made for this very folder: how often each single sample comes, times ``weight``.
    """

    path: str
    name: str | None = None
    weight: float = Field(default=1.0, gt=0)
    weights: str | None = None


class DecontaminationSection(RecipeModel):
    """What the training mix must not hold; see docs/decontamination.md.

    Attributes:
        manifests: benchmark manifests that the mix is compared with before the run starts.
        exclude: lists of samples that get weight 0, as ``medvlm data decontaminate scan --remove`` writes them.
        allow_val_overlap: start although records, patients or studies of ``data.val`` are in the mix.
    """

    manifests: list[str] | None = None
    exclude: list[str] | None = None
    allow_val_overlap: bool = False


class DataSection(RecipeModel):
    """Where the samples come from and how a sample becomes a conversation.

    Attributes:
        train: shard folders; a string is one folder with weight 1.
        val: shard folder for evaluation, or null.
        conversation: ``stored`` uses the sample's messages; ``chat`` asks questions of ``extra['qa']`` one after
            another in one conversation; ``questions`` asks each on its own, though all share one pass over the image
            (needs batch.pack).
        questions: questions drawn for one sample, at random by (seed, position in the plan).
        views: ``all`` shows every image of a study; ``asked`` shows the one that the questions are about (one view is
            drawn, and the questions of the others are left out).
        stored_share: with ``chat`` or ``questions``, chance that a sample's stored messages (the report)
            are used instead.
        open_share: with ``chat`` or ``questions``, chance that an open question is kept. Its answer is many tokens long
            and would otherwise outweigh the yes and no of the closed ones.
        workers: decoding processes of each rank; the order of samples does not depend on it.
        cache: keep encoded pictures in memory (float16), for data that fit and are seen many times.
        block: passes of shards that are shuffled together.
        decontamination: benchmarks that the mix is checked against; null checks ``val`` alone and says so.
    """

    train: str | list[SourceSection] | None = None
    val: str | None = None
    conversation: Literal["stored", "chat", "questions"] = "stored"
    questions: int = Field(default=8, ge=1)
    views: Literal["all", "asked"] = "all"
    stored_share: float = Field(default=0.0, ge=0, le=1)
    open_share: float = Field(default=1.0, ge=0, le=1)
    workers: int = Field(default=0, ge=0)
    cache: bool = False
    block: int = Field(default=8, ge=1)
    decontamination: DecontaminationSection | None = None


class BatchSection(RecipeModel):
    """One optimizer step.

    Attributes:
        samples: samples of one step, over all ranks. Gradient accumulation follows from it and the row budget.
        pack: several samples in one row with positions that restart, no attention across samples.
        row_tokens, row_patches: budget of one packed row (one forward pass of a rank).
        row_samples: samples of one padded forward pass when ``pack`` is off, and of one warm-up pass.
    """

    samples: int = Field(default=16, ge=1)
    pack: bool = True
    row_tokens: int = Field(default=2048, ge=16)
    row_patches: int = Field(default=16384, ge=1)
    row_samples: int = Field(default=4, ge=1)


class GroupSection(RecipeModel):
    """Parameters whose name matches ``pattern`` (a regular expression, ``re.search``); the first match wins."""

    pattern: str
    lr: float | None = Field(default=None, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)
    freeze: bool = False


class OptimizerSection(RecipeModel):
    """AdamW. ``clip`` is the largest gradient norm (0: no clipping); biases and norms are not decayed."""

    lr: float = Field(default=1e-4, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    clip: float = Field(default=1.0, ge=0)


class ScheduleSection(RecipeModel):
    """Learning-rate curve: linear warm-up, then cosine, linear, constant, or wsd (stable, then linear decay)."""

    kind: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int = Field(default=10, ge=0)
    decay_share: float = Field(default=0.2, gt=0, le=1)
    floor: float = Field(default=0.0, ge=0, le=1)


class CheckpointSection(RecipeModel):
    """``every`` steps a checkpoint is written; the newest ``keep`` stay."""

    every: int = Field(default=100, ge=1)
    keep: int = Field(default=2, ge=1)


class EvalSection(RecipeModel):
    """Held-out loss (and, in warm-up, AUC a finding) every so many steps (0: only at the end)."""

    every: int = Field(default=0, ge=0)
    samples: int = Field(default=200, ge=0)


class WarmupSection(RecipeModel):
    """Weights of the warm-up's losses; 0 turns one off.

    Attributes:
        image_weight: multi-label BCE on the picture's findings, from mean- and max-pooled patch features.
        patch_weight: BCE on the patch grid against the truth mask pooled to it.
        word_weight: cosine distance of connector outputs to the decoder's embeddings of the finding names that the
            mask shows there; gives the decoder image tokens that it can read before it has been trained on any.
        word_focus: how much more an image token counts in that distance for each finding that fills it; without it
            rare and faint findings are drowned by the background.
        word_scale: size of a fully marked image token, in units of the decoder's mean embedding norm.
        max_pos_weight: cap of the weight of rare findings.
        wake: draw a tower that starts from nothing in a way that learns faster (``fresh_tower.wake``); loaded weights
            are never touched.
        augment: brightness and contrast jitter of the pictures (share of the standard deviation).
        background: phrase for image tokens where nothing shows.
        names: phrase of a finding for ``word_weight``; default is its name with spaces.
    """

    image_weight: float = Field(default=1.0, ge=0)
    patch_weight: float = Field(default=1.0, ge=0)
    word_weight: float = Field(default=0.0, ge=0)
    word_focus: float = Field(default=0.0, ge=0)
    word_scale: float = Field(default=1.0, gt=0)
    max_pos_weight: float = Field(default=20.0, ge=1)
    wake: bool = True
    augment: float = Field(default=0.1, ge=0)
    background: str = " normal"
    names: dict[str, str] = Field(default_factory=dict)


class LoraSection(RecipeModel):
    """PEFT LoRA on the decoder; the connector trains in full. Merged into the exported model."""

    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


class TrainRecipe(RecipeModel):
    """A whole training run. The run folder ``run`` holds everything it makes; see docs/training.md."""

    stage: Stage
    run: str
    seed: int = 0
    steps: int = Field(default=100, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    strategy: Strategy = "single"
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = False
    deterministic: bool = True
    threads: int | None = Field(default=None, ge=1)
    log_every: int = Field(default=10, ge=1)
    trace_samples: bool = False
    tensorboard: bool = True
    wandb: str | None = None
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    batch: BatchSection = BatchSection()
    groups: list[GroupSection] = Field(default_factory=list)
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    checkpoint: CheckpointSection = CheckpointSection()
    eval: EvalSection = EvalSection()
    warmup: WarmupSection = WarmupSection()
    lora: LoraSection = LoraSection()

    @model_validator(mode="after")
    def _check(self):
        if self.stage == "vision_warmup" and not (
            self.warmup.image_weight or self.warmup.patch_weight or self.warmup.word_weight
        ):
            raise ValueError("all warmup weights are 0: there is nothing to learn; set warmup.patch_weight=1")
        if self.data.conversation == "questions" and not self.batch.pack:
            raise ValueError("data.conversation=questions needs batch.pack=true: its questions share one row; use chat")
        return self


# What may differ between the stored recipe of a run folder and the one it is resumed with: it changes where and how
# fast the run goes, not what it computes.
RESUMABLE_KEYS = (
    "strategy",
    "threads",
    "log_every",
    "tensorboard",
    "wandb",
    "data.workers",
    "data.cache",
    "data.decontamination.manifests",
    "data.decontamination.allow_val_overlap",
    "checkpoint.every",
    "checkpoint.keep",
    "minutes",
    "run",
)
