"""TRL 1.16 and PEFT take the model without special treatment, images and tools that return images included."""

import datasets
import numpy as np
import peft
import pytest
import torch
from PIL import Image

trl = pytest.importorskip("trl")


def film(seed, height=96, width=80):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


def arguments(cls, tmp_path, **kwargs):
    defaults = {
        "output_dir": str(tmp_path),
        "max_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "disable_tqdm": True,
    }
    return cls(**{**defaults, **kwargs})


def changed(before, model):
    return {name for name, p in model.named_parameters() if name in before and not torch.equal(before[name], p)}


def snapshot(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def checkpoint(built, tmp_path_factory):
    from vlm.build import save

    return str(save(*built(), tmp_path_factory.mktemp("checkpoint")))


@pytest.mark.parametrize("form", ["messages", "prompt_completion"])
def test_sft_trainer_takes_the_checkpoint_by_its_path(checkpoint, tmp_path, form):
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "finding?"}]}]
    answers = [[{"role": "assistant", "content": [{"type": "text", "text": f"answer {i}"}]}] for i in range(4)]
    rows = [
        {"images": [film(i, 60 + 20 * i)]}
        | ({"messages": asked + answers[i]} if form == "messages" else {"prompt": asked, "completion": answers[i]})
        for i in range(4)
    ]
    trainer = trl.SFTTrainer(
        model=checkpoint,
        args=arguments(trl.SFTConfig, tmp_path, per_device_train_batch_size=2, max_length=None),
        train_dataset=datasets.Dataset.from_list(rows),
    )
    model = trainer.model
    assert type(model).__name__ == "MedVLMForConditionalGeneration"
    before = snapshot(model)
    result = trainer.train()
    assert np.isfinite(result.training_loss) and result.training_loss > 1
    moved = changed(before, model)
    for part in ("model.vision_tower", "model.connector", "model.language_model"):
        assert any(name.startswith(part) for name in moved), part


def length_reward(completions, **kwargs):
    return [float(len(str(c)) % 7) for c in completions]


def grpo_rows(n=2):
    return datasets.Dataset.from_list(
        [{"prompt": [{"role": "user", "content": "look closely"}], "image": film(i, 64 + 32 * i)} for i in range(n)]
    )


def test_grpo_trainer_takes_the_checkpoint_by_its_path(checkpoint, tmp_path):
    trainer = trl.GRPOTrainer(
        model=checkpoint,
        args=arguments(
            trl.GRPOConfig,
            tmp_path,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            beta=0.01,
        ),
        reward_funcs=length_reward,
        train_dataset=grpo_rows(),
    )
    before = snapshot(trainer.model)
    trainer.train()
    assert changed(before, trainer.model)


class Crop:
    """An environment whose tool gives a picture back."""

    calls = 0

    def reset(self, **row):
        return None

    def zoom(self, left: int):
        """Look closer at a part of the film.

        Args:
            left: Left edge of the part.
        """
        type(self).calls += 1
        return [{"type": "image", "image": film(left, 64, 64)}, {"type": "text", "text": "the part"}]


@pytest.fixture
def answers_with_a_tool_call(monkeypatch):
    """Makes generation say a tool call first and plain text after, as an untrained model never calls one."""

    def install(model, processor):
        call = '<tool_call>\n{"name": "zoom", "arguments": {"left": 3}}\n</tool_call><|im_end|>'
        texts = iter([call, *["seen<|im_end|>"] * 50])
        original = type(model).generate

        def generate(self, input_ids=None, **kwargs):
            answer = torch.tensor(processor.tokenizer(next(texts))["input_ids"])
            # the real model runs on the whole conversation, images of tool results included
            original(self, input_ids=input_ids, **{**kwargs, "generation_config": None}, max_new_tokens=1)
            return torch.cat([input_ids, answer.expand(len(input_ids), -1)], 1)

        monkeypatch.setattr(type(model), "generate", generate)

    return install


def test_grpo_environment_tool_returns_an_image(tiny, tmp_path, answers_with_a_tool_call):
    model, processor = tiny
    answers_with_a_tool_call(model, processor)
    Crop.calls = 0
    seen = []
    forward = model.model.encode_images

    def watch(pixel_values, image_grid_thw):
        seen.append(len(image_grid_thw))
        return forward(pixel_values, image_grid_thw)

    model.model.encode_images = watch
    trainer = trl.GRPOTrainer(
        model=model,
        args=arguments(
            trl.GRPOConfig,
            tmp_path,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=200,
            max_tool_calling_iterations=2,
        ),
        reward_funcs=lambda completions, **kwargs: [float(i) for i in range(len(completions))],
        train_dataset=grpo_rows(1),
        processing_class=processor,
        environment_factory=Crop,
    )
    before = snapshot(model)
    trainer.train()
    assert Crop.calls == 2
    assert max(seen) == 4, "two rollouts, each with the prompt's image and the tool's"
    assert changed(before, model)


def test_fused_lm_head_gives_the_log_probabilities_of_forward(tiny, say, inputs_of):
    from trl.trainer.utils import add_fused_lm_head

    model, processor = tiny
    batch = inputs_of(processor, [say("user", film(0), "?"), say("assistant", "an answer")])
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits[:, :-1].log_softmax(-1)
        add_fused_lm_head(model)
        fused = model(**batch, labels=labels, fused_lm_head=True)
    wanted = labels[:, 1:] != -100
    expected = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0][wanted]
    torch.testing.assert_close(fused.log_probs[wanted], expected, rtol=0, atol=1e-4)


def test_lora_attaches_saves_and_merges(tiny, tmp_path, say, inputs_of):
    model, processor = tiny
    batch = inputs_of(processor, [say("user", film(0), "?"), say("assistant", "yes")])
    config = peft.LoraConfig(
        r=4, target_modules=r".*language_model.*\.(q_proj|v_proj)", modules_to_save=["connector"], task_type="CAUSAL_LM"
    )
    wrapped = peft.get_peft_model(model, config)
    wrapped.print_trainable_parameters()
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        wrapped(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    wrapped.eval()
    with torch.no_grad():
        adapted = wrapped(**batch).logits
    wrapped.save_pretrained(tmp_path)
    from vlm.build import new_model

    base, _ = new_model(decoder="tiny", tower="test", max_pixels=128 * 128)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, adapted)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(**batch).logits, adapted, rtol=0, atol=1e-4)
    assert not any("lora" in name for name in merged.state_dict())


def test_template_meets_trls_checks(tiny):
    from trl import chat_template_utils as checks

    _, processor = tiny
    assert checks.supports_tool_calling(processor)
    assert checks.is_chat_template_prefix_preserving(processor)
    assert checks.is_chat_template_stop_token_trained(processor)
    assert checks.has_generation_markers(processor.chat_template)
    ids = processor.tokenizer(
        'let me look\n<tool_call>\n{"name": "zoom", "arguments": {"left": 3}}\n</tool_call><|im_end|>'
    )["input_ids"]
    prefix = processor.tokenizer("<|im_start|>user\nlook<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    parsed = checks.parse_response(processor.tokenizer, ids, prefix=prefix)
    assert parsed["tool_calls"][0]["function"] == {"name": "zoom", "arguments": {"left": 3}}
    assert parsed["content"].strip() == "let me look"
    broken = processor.tokenizer('<tool_call>\n{"name": <|im_end|>')["input_ids"]
    assert "tool_calls" not in checks.parse_response(processor.tokenizer, broken, prefix=prefix)
