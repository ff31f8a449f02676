"""From a recipe to what its stage needs: model, objective, encoder of samples, parameter groups."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pretrain.shards.plan import Plan
from pretrain.shards.reader import ShardReader
from pretrain.training.batches import Example, dummy_image
from pretrain.training.data import Encode
from pretrain.training.encode import ConversationEncoder, MaskEncoder
from pretrain.training.errors import TrainingError
from pretrain.training.flops import FlopsModel, flops_model
from pretrain.training.fresh_tower import wake
from pretrain.training.groups import ParameterGroup, assign_groups
from pretrain.training.objectives import TokenObjective, WarmupObjective
from pretrain.training.recipe import GroupSection, TrainRecipe
from vlm.packing import attend_by_sample

log = logging.getLogger(__name__)

_COUNTED = 400  # samples read to count how rare a finding is


@dataclass
class Stage:
    """Everything the loop needs of a stage; ``model`` is the whole vision-language model, trained or not."""

    model: Any
    processor: Any
    objective: Any
    encode: Encode
    groups: list[ParameterGroup]
    flops: FlopsModel
    pad_id: int
    simulated_before: bool  # the vision weights that the run starts from have seen no real image

    @property
    def base(self) -> Any:
        """The vision-language model below its adapters."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def findings(self) -> int:
        """Findings that the warm-up's heads read; 0 in the other stages."""
        return len(getattr(self.objective, "findings", ()))

    @property
    def dummy(self) -> Example:
        """An image that counts for nothing, in this model's terms."""
        config, merge = self.base.config, self.base.config.merge_size
        vision = config.vision_config
        tokens = self.processor.tokens_of_grid(merge, merge)
        return dummy_image(config.image_token_id, tokens, merge, vision.patch_size**2 * vision.in_channels)

    @property
    def block_classes(self) -> list[str]:
        """Classes of the repeated blocks in the objective, which FSDP2 shards one by one."""
        found = set()
        for module in self.objective.modules():
            if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module):
                names = {type(child).__name__ for child in module}
                if len(names) == 1 and names.isdisjoint({"Identity", "Linear", "LayerNorm"}):
                    found |= names
        return sorted(found)


def build_model(recipe: TrainRecipe) -> tuple[Any, Any]:
    """Model (with LoRA adapters where the stage has them) and processor, in float32.

    Raises:
        CheckpointError: ``model.init`` is no medvlm checkpoint.
        TrainingError: ``model`` says both where to start and what to build.
    """
    import vlm.auto  # noqa: F401  registers the model with transformers
    from vlm.build import load, new_model

    section = recipe.model
    names = {k: v for k in ("decoder", "tower", "connector") if (v := getattr(section, k)) is not None}
    if section.init is not None:
        if names or section.options:
            raise TrainingError(
                "model.init names a checkpoint, so model.decoder, tower, connector and options must be left out"
            )
        model, processor = load(Path(section.init), dtype=torch.float32)
    else:
        try:
            model, processor = new_model(**{"seed": recipe.seed, **names, **section.options})
        except TypeError as error:
            raise TrainingError(f"model.options: vlm.build.new_model does not take these options ({error})") from error
    if recipe.stage == "instruction_tuning_lora":
        model = _with_lora(model, recipe)
    return model, processor


def build_stage(recipe: TrainRecipe, plan: Plan) -> Stage:
    """Assemble a stage: the model is frozen and grouped as the recipe says."""
    model, processor = build_model(recipe)
    fresh = recipe.model.init is None and not {"pretrained_tower", "vision_weights"} & {
        k for k, v in recipe.model.options.items() if v
    }
    base = model.get_base_model() if recipe.stage == "instruction_tuning_lora" else model
    if recipe.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if recipe.stage == "instruction_tuning_lora":
            base.enable_input_require_grads()
    encode: Encode
    if recipe.stage == "vision_warmup":
        if fresh and recipe.warmup.wake:
            wake(base.model.vision_tower, recipe.seed)
        objective, encode = _warmup(recipe, base, processor, plan)
        decoder = head = None
    else:
        objective = TokenObjective(model)
        encode = ConversationEncoder(processor, recipe.data, recipe.seed)
        decoder, head = base.model.language_model, base.lm_head
        if recipe.batch.pack and not torch.cuda.is_available():
            attend_by_sample(decoder)
    groups = assign_groups(objective, _sections(recipe), recipe.optimizer)
    objective.train()
    flops = flops_model(base.model.vision_tower, base.model.connector, decoder, head, base.config)
    return Stage(
        model,
        processor,
        objective,
        encode,
        groups,
        flops,
        _pad_id(processor),
        fresh or bool(base.config.simulated_only),
    )


def _sections(recipe: TrainRecipe) -> list[GroupSection]:
    if recipe.stage == "connector_alignment":
        return [GroupSection(pattern=r"language_model|lm_head", freeze=True), *recipe.groups]
    return recipe.groups


def _with_lora(model: Any, recipe: TrainRecipe) -> Any:
    from peft import LoraConfig, get_peft_model

    section = recipe.lora
    targets = rf".*language_model.*\.({'|'.join(section.targets)})"
    config = LoraConfig(
        r=section.r, lora_alpha=section.alpha, lora_dropout=section.dropout, target_modules=targets, bias="none"
    )
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise TrainingError(f"lora.targets: {section.targets} match no layer of this decoder ({error})") from error
    for name, parameter in wrapped.named_parameters():
        if "vision_tower" in name or "connector" in name:
            parameter.requires_grad_(True)
    return wrapped


def _warmup(recipe: TrainRecipe, model: Any, processor: Any, plan: Plan) -> tuple[WarmupObjective, Encode]:
    from pretrain.sources.chest import FINDINGS

    encode = MaskEncoder(processor.image_processor, FINDINGS, recipe.data.cache)
    words = None
    if recipe.warmup.word_weight:
        phrases = [recipe.warmup.names.get(f, " " + f.replace("_", " ")) for f in FINDINGS]
        words = word_embeddings(
            model, processor.tokenizer, [*phrases, recipe.warmup.background], recipe.warmup.word_scale
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        objective = WarmupObjective(
            model.model.vision_tower,
            model.model.connector,
            FINDINGS,
            recipe.warmup,
            words,
            positive_weights(encode, plan, recipe.warmup.max_pos_weight),
        )
    return objective, encode


@torch.no_grad()
def word_embeddings(model: Any, tokenizer: Any, phrases: list[str], scale: float) -> torch.Tensor:
    """(F, D) what an image token should be for each phrase, each as long as ``scale`` mean token embeddings.

    A phrase is the sum of its words, all as loud ("left" must not drown in the six tokens of "pneumothorax"), and of
    their elementwise product, which binds them (left effusion and right pneumothorax would else add up to the same as
    right effusion and left pneumothorax). The set is then made orthogonal in the way that moves it least (Löwdin 1950,
    symmetric orthogonalisation): left and right of a finding have a cosine of 0.75 as words, and what the tower knows
    of the side would be lost in the noise.

    Raises:
        TrainingError: a phrase is empty, or two are alike.
    """
    table = model.get_input_embeddings().weight.detach().float()
    rows = []
    for phrase in phrases:
        ids = [tokenizer.encode(" " + word, add_special_tokens=False) for word in phrase.split()]
        if not ids:
            raise TrainingError("warmup.names: a phrase is empty")
        words = torch.stack([F.normalize(table[i].mean(0), dim=0) for i in ids])
        bound = F.normalize(words.prod(0), dim=0) if len(ids) > 1 else 0.0
        rows.append(words.sum(0) + bound)
    left, sizes, right = torch.linalg.svd(F.normalize(torch.stack(rows), dim=-1), full_matrices=False)
    if len(rows) > table.shape[1] or float(sizes[-1]) < 1e-2:
        raise TrainingError("warmup.names: two findings have the same name, or there are more than the decoder is wide")
    return left @ right * table.norm(dim=-1).mean() * scale


def positive_weights(encode: MaskEncoder, plan: Plan, most: float) -> dict[str, torch.Tensor]:
    """(F,) weight of positives, negatives over positives up to ``most``, counted on the first samples of the plan."""
    readers = [ShardReader(source) for source in plan.sources]
    images, patches = [], []
    for t in range(min(_COUNTED, plan.epoch_length())):
        ref = plan.sample(t)
        example = encode(readers[ref.source].sample(ref.record), t)
        images.append(example.image_targets)
        patches.append(example.patch_targets)
    weights = {}
    for name, parts in (("image", images), ("patch", patches)):
        share = torch.cat(parts).mean(0)
        weights[name] = ((1 - share) / share.clamp(min=1e-6)).clamp(1.0, most)
    return weights


def _pad_id(processor: Any) -> int:
    pad = processor.tokenizer.pad_token_id
    return 0 if pad is None else int(pad)
