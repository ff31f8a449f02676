"""The engine answers as transformers does, alone, batched and from warm caches (acceptance 2 of the first release)."""

import functools
import logging

import pytest
import torch

log = logging.getLogger(__name__)
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


def long_question(processor) -> str:
    """A prompt about one image that fills blocks of the prefix cache."""
    content = [{"type": "image"}, {"type": "text", "text": "Any change in the left lung? " * 4}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )


def test_warm_caches_answer_as_cold_ones(tiny):
    engine, _, processor, prompts = tiny
    text = long_question(processor)
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
    text = long_question(processor)
    asked = [{"text": text, "images": prompt["images"][:1]} for prompt in prompts]
    references = lab.answers(model, processor, asked, TOKENS)
    assert len({tuple(reference.ids) for reference in references}) > len(asked) // 2, "the images do not matter"
    engine.call("forget")
    answers = engine.generate(asked, TOKENS, batched=False)  # one after the other: each meets what the others left
    assert all(answer["cached"] == 0 for answer in answers)
    compare(answers, references)
    again = engine.generate(asked, TOKENS, batched=False)
    assert all(answer["cached"] > 0 for answer in again), "the cache was never used: nothing is proved above"
    compare(engine.generate(asked, TOKENS, batched=True), references)


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


def until_parting(ours, theirs):
    """Number of tokens that two answers have in common from the start."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((step for step, (one, two) in pairs if one != two), len(theirs))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bfloat16_answers_part_only_at_near_ties(lab):
    """A trained model, its own kind of questions, answers up to their end: what a user of a served model gets.

    Whether two words were near each other is for the same weights in float32 to say: transformers in bfloat16, whose
    cache was filled step by step, gave a gap of 0.105 where it gives 0.041 in one pass and float32 0.037.
    """
    folder, model, processor, shards = lab.trained("bfloat16")
    prompts = lab.film_prompts(processor, shards, lab.folder / "films", 100)
    references = lab.answers(model, processor, prompts, 24)
    with lab.engine(folder, dtype="bfloat16") as engine:
        answers = engine.generate(prompts, 24, batched=True)
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    exact = functools.partial(lab.forced_logprobs, model.float(), processor)
    differences, gaps = [], []
    for prompt, answer, reference in zip(prompts, answers, references, strict=True):
        assert answer["prompt_ids"] == reference.prompt_ids
        length = reference.ids.index(end) + 1 if end in reference.ids else len(reference.ids)
        parting = min(until_parting(answer["ids"], reference.ids), length)
        differences += [abs(answer["logprobs"][step] - reference.logprobs[step]) for step in range(parting)]
        if parting < length:
            until = slice(0, parting + 1)
            ours, theirs = exact([prompt, prompt], [answer["ids"][until], reference.ids[until]])
            gaps.append(abs(ours[-1] - theirs[-1]))
    assert len({tuple(reference.ids) for reference in references}) >= 8, "the answers are nearly all the same"
    p99 = float(torch.tensor(differences).quantile(0.99))
    log.info(f"{len(differences)} tokens, p99 {p99:.4f}, {len(gaps)} of 100 part, at {[round(gap, 3) for gap in gaps]}")
    assert p99 < 0.1
    assert len(gaps) <= 10 and all(gap < 0.05 for gap in gaps), f"{len(gaps)} of 100 parted, at {sorted(gaps)[-5:]}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("connector", CONNECTORS)
def test_bfloat16_is_as_near_to_float32_as_transformers_is(lab, connector):
    """An untrained connector and free text sit on ties all the time: what differs there is rounding, not a fault."""
    folder, model, processor = lab.checkpoint(connector, decoder="smollm2", tower="small_cpu", dtype="bfloat16")
    prompts = lab.make_prompts(processor, lab.folder / "hundred", 100, seed=1)
    references = lab.answers(model, processor, prompts, 16)
    with lab.engine(folder, dtype="bfloat16") as engine:
        answers = engine.generate(prompts, 16, batched=True)
    exact = lab.forced_logprobs(model.float(), processor, prompts, [reference.ids for reference in references])
    ours, theirs = [], []
    for answer, reference, truth in zip(answers, references, exact, strict=True):
        for step in range(until_parting(answer["ids"], reference.ids)):
            ours.append(abs(answer["logprobs"][step] - truth[step]))
            theirs.append(abs(reference.logprobs[step] - truth[step]))
    levels = torch.tensor([0.5, 0.9, 0.99])
    found, peer = torch.tensor(ours).quantile(levels), torch.tensor(theirs).quantile(levels)
    log.info(f"{connector}: {len(ours)} tokens, distance to float32 {found.tolist()}, transformers {peer.tolist()}")
    assert len(ours) > 800
    assert (found <= 1.25 * peer).all(), (found, peer)


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
