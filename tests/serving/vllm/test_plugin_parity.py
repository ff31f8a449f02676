"""The engine answers as transformers does, alone, batched and from warm caches (acceptance 2 of the first release)."""

import pytest
import torch

TOKENS = 8
CONNECTORS = ("patch_merge_mlp", "perceiver")


@pytest.fixture(scope="module", params=CONNECTORS)
def tiny(request, lab):
    """(engine, model, processor, prompts) of a tiny model; float32."""
    folder, model, processor = lab.checkpoint(request.param)
    prompts = lab.make_prompts(processor, lab.folder / "images", 12)
    with lab.engine(folder) as engine:
        yield engine, model, processor, prompts


def compare(answers, references):
    """Prompts and answers are the same tokens, with the same log-probabilities."""
    assert [answer["prompt_ids"] for answer in answers] == [reference.prompt_ids for reference in references]
    equal = [answer["ids"] == reference.ids for answer, reference in zip(answers, references, strict=True)]
    assert all(equal), f"{sum(equal)} of {len(equal)} answers are equal"
    for answer, reference in zip(answers, references, strict=True):
        assert answer["logprobs"] == pytest.approx(reference.logprobs, abs=1e-3)


def test_greedy_answers_equal_transformers(tiny, lab):
    engine, model, processor, prompts = tiny
    references = lab.answers(model, processor, prompts, TOKENS)
    engine.call("forget")
    compare(engine.generate(prompts, TOKENS, batched=True), references)
    engine.call("forget")
    compare(engine.generate(prompts, TOKENS, batched=False), references)

    swapped = lab.answers(model, processor, with_other_images(prompts), TOKENS)
    changed = [other.ids != reference.ids for other, reference in zip(swapped, references, strict=True)]
    assert sum(changed) >= 10, "the answers do not depend on the images: the comparison above proves nothing"


def test_warm_caches_answer_as_cold_ones(tiny):
    engine, _, processor, prompts = tiny
    question = {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": "Any change in the left lung? " * 4}],
    }
    text = processor.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
    asked = [*prompts, *({"text": text, "images": prompt["images"][:1]} for prompt in prompts)]
    engine.call("forget")
    cold = engine.generate(asked, TOKENS, batched=False)
    warm = engine.generate(asked, TOKENS, batched=False)
    batched = engine.generate(asked, TOKENS, batched=True)
    assert sum(answer["cached"] > 0 for answer in warm) >= len(asked) // 2, "the prefix cache was never used"
    for answers in (warm, batched):
        assert [answer["ids"] for answer in answers] == [answer["ids"] for answer in cold]
        for answer, first in zip(answers, cold, strict=True):
            assert answer["logprobs"] == pytest.approx(first["logprobs"], abs=1e-3)


def test_same_prompt_with_another_image_does_not_hit_the_cache(tiny, lab):
    engine, model, processor, prompts = tiny
    text = prompts[0]["text"]
    asked = [{"text": text, "images": prompt["images"][:1]} for prompt in prompts]
    compare(engine.generate(asked, TOKENS, batched=True), lab.answers(model, processor, asked, TOKENS))


def test_text_without_images_is_answered_alike(tiny, lab):
    engine, model, processor, _ = tiny
    message = {"role": "user", "content": [{"type": "text", "text": "Hello."}]}
    asked = [
        {"text": processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True), "images": []}
    ]
    compare(engine.generate(asked, TOKENS), lab.answers(model, processor, asked, TOKENS))


def test_refusals_leave_the_engine_working(tiny, lab):
    engine, _, _, prompts = tiny
    several = next(prompt for prompt in prompts if len(prompt["images"]) == 4)
    with pytest.raises(lab.Refused, match="At most 4 image"):
        engine.generate([{"text": several["text"], "images": [*several["images"], several["images"][0]]}])
    with pytest.raises(lab.Refused, match=r"4 image placeholder.* 2 image"):
        engine.generate([{"text": several["text"], "images": several["images"][:2]}])
    with pytest.raises(lab.Refused, match=r"2 image placeholder.* 1 image"):
        engine.generate([{"text": "<|image_pad|>" + prompts[0]["text"], "images": prompts[0]["images"]}])
    assert engine.generate(prompts[:1], TOKENS)[0]["ids"]


def test_memory_is_measured_with_the_largest_image(tiny):
    engine, _, processor, _ = tiny
    promised, largest = engine.call("max_image_tokens")
    budget = processor.image_processor
    assert promised == largest
    for size in ((4000, 3000), (512, 512), (100, 5000), (37, 37)):
        assert processor.tokens_of_grid(*budget.grid(*size)) <= promised


def with_other_images(prompts):
    return [{**prompt, "images": prompts[index - 4]["images"]} for index, prompt in enumerate(prompts)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("connector", CONNECTORS)
def test_hundred_prompts_equal_transformers_in_float32(lab, connector):
    folder, model, processor = lab.checkpoint(connector, decoder="smollm2", tower="small_cpu")
    prompts = lab.make_prompts(processor, lab.folder / "hundred", 100, seed=1)
    references = lab.answers(model, processor, prompts, 12)
    assert len({tuple(reference.ids) for reference in references}) > 40, "the answers are nearly all the same"
    other = lab.answers(model, processor, with_other_images(prompts[:16]), 1)
    moved = [abs(one.logprobs[0] - two.logprobs[0]) > 0.01 for one, two in zip(other, references, strict=False)]
    assert sum(moved) >= 12, "the answers hardly depend on the images"
    with lab.engine(folder) as engine:
        compare(engine.generate(prompts, 12, batched=True), references)
        engine.call("forget")
        compare(engine.generate(prompts, 12, batched=False), references)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("connector", CONNECTORS)
def test_bfloat16_parts_only_at_near_ties(lab, connector):
    folder, model, processor = lab.checkpoint(connector, decoder="smollm2", tower="small_cpu", dtype="bfloat16")
    prompts = lab.make_prompts(processor, lab.folder / "hundred", 100, seed=1)
    references = lab.answers(model, processor, prompts, 16)
    with lab.engine(folder, dtype="bfloat16") as engine:
        answers = engine.generate(prompts, 16, batched=True)
    differences, gaps = [], []
    for answer, reference in zip(answers, references, strict=True):
        assert answer["prompt_ids"] == reference.prompt_ids
        pairs = list(zip(answer["ids"], reference.ids, strict=True))
        parting = next((step for step, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))
        differences += [abs(answer["logprobs"][step] - reference.logprobs[step]) for step in range(parting)]
        gaps += reference.gaps[parting : parting + 1]
    assert torch.tensor(differences).quantile(0.99) < 0.1
    assert not gaps or max(gaps) < 0.05, f"{len(gaps)} of 100 parted, at gaps {sorted(gaps)[-5:]}"


@pytest.mark.slow
def test_linear_connector_and_untied_head(lab):
    folder, model, processor = lab.checkpoint("linear", tied=False)
    prompts = lab.make_prompts(processor, lab.folder / "images", 12)
    with lab.engine(folder) as engine:
        compare(engine.generate(prompts, TOKENS), lab.answers(model, processor, prompts, TOKENS))


@pytest.mark.slow
def test_lora_adapter_of_the_decoder(lab):
    from peft import LoraConfig, get_peft_model

    from vlm.build import load

    folder, _, processor = lab.checkpoint("patch_merge_mlp")
    base, _ = load(folder)  # of its own: PEFT changes the model that it is given
    targets = r".*language_model\.layers\..*\.(q_proj|v_proj|down_proj)"
    torch.manual_seed(0)
    tuned = get_peft_model(base, LoraConfig(r=8, target_modules=targets, init_lora_weights=False))
    tuned.save_pretrained(lab.folder / "adapter")
    prompts = lab.make_prompts(processor, lab.folder / "images", 8)
    expected = lab.answers(tuned.eval(), processor, prompts, TOKENS)
    with lab.engine(folder, enable_lora=True, max_lora_rank=8) as engine:
        plain = engine.generate(prompts, TOKENS)
        compare(engine.generate(prompts, TOKENS, adapter=str(lab.folder / "adapter")), expected)
    assert [answer["ids"] for answer in plain] != [answer.ids for answer in expected]
