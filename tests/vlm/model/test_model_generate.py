"""Generation: padding, several samples, beams, cache, conversation shapes."""

import pytest
import torch


def prompts(say, picture):
    return [
        [say("user", picture(100, 100), "one")],
        [
            say("user", picture(64, 128, 1), "two", picture(128, 40, 2)),
            say("assistant", "ok"),
            say("user", "and this", picture(77, 33, 3)),
        ],
        [say("user", "no picture")],
    ]


def greedy(model, inputs, **kwargs):
    out = model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=-1, **kwargs)
    return out[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("connector", ["merge", "perceiver"])
def test_batched_generation_equals_one_at_a_time(built, say, picture, inputs_of, connector):
    model, processor = built(connector)
    alone = [greedy(model, inputs_of(processor, p, prompt=True))[0] for p in prompts(say, picture)]
    batch = inputs_of(processor, prompts(say, picture), prompt=True, processor_kwargs={"padding": True})
    assert (batch["attention_mask"][:, 0] == 0).any(), "the tokenizer pads on the left"
    assert torch.equal(greedy(model, batch), torch.stack(alone))


def test_generation_without_a_cache_gives_the_same(tiny, say, picture, inputs_of):
    model, processor = tiny
    inputs = inputs_of(processor, prompts(say, picture)[1], prompt=True)
    assert torch.equal(greedy(model, inputs), greedy(model, inputs, use_cache=False))


def test_several_samples_and_beams_keep_each_prompts_images(tiny, say, picture, inputs_of):
    model, processor = tiny
    batch = inputs_of(processor, prompts(say, picture), prompt=True, processor_kwargs={"padding": True})
    one = greedy(model, batch)
    beams = greedy(model, batch, num_beams=2, num_return_sequences=2)
    assert beams.shape[0] == 6
    torch.manual_seed(0)
    kwargs = {"max_new_tokens": 12, "do_sample": True, "top_k": 1, "num_return_sequences": 3, "eos_token_id": -1}
    many = model.generate(**batch, **kwargs)[:, batch["input_ids"].shape[1] :]
    assert torch.equal(many, one.repeat_interleave(3, 0))


def test_the_image_changes_the_answer_and_image_tokens_are_never_sampled(tiny, say, picture, inputs_of):
    model, processor = tiny
    logits = [
        model(**inputs_of(processor, [say("user", picture(100, 100, seed), "?")], prompt=True)).logits[0, -1]
        for seed in (0, 1)
    ]
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    with torch.no_grad():
        model.lm_head.weight[processor.image_token_id] *= 1000  # the model would want nothing but image tokens
    inputs = inputs_of(processor, [say("user", picture(100, 100), "?")], prompt=True)
    assert processor.image_token_id not in greedy(model, inputs).tolist()[0]
