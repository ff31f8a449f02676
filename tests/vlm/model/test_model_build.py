"""Building from names, saving and loading, other towers and decoders, and the sentences of errors."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)

from vlm.build import CheckpointError, load, new_model, parameter_counts, save, token_counts
from vlm.decoder import kept_layers, load_tokenizer, smollm2_file
from vlm.vision import VisionTower, VisionTowerError

TINY_DECODERS = {
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": False},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": False},
    "gpt_neox": {"tie_word_embeddings": False},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
}


def save_decoder(kind, folder):
    """A random decoder of another family, as a folder that transformers loads."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        **TINY_DECODERS[kind],
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    load_tokenizer("smollm2").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("connector", ["merge", "linear", "perceiver"])
def test_round_trip_through_the_auto_classes_is_bitwise(built, say, picture, inputs_of, tmp_path, connector):
    model, processor = built(connector)
    model.config.simulated_only = True
    save(model, processor, tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    ours, _ = load(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "MedVLMModel"
    assert loaded.config.simulated_only and loaded.config.connector_config == model.config.connector_config
    for other in (loaded, ours):
        assert other.state_dict().keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is type(processor)
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    assert again.chat_template == processor.chat_template
    assert type(AutoImageProcessor.from_pretrained(tmp_path)).__name__ == "MedVLMImageProcessor"
    batch = inputs_of(processor, [say("user", picture(90, 70), "?"), say("assistant", "yes")])
    again_batch = inputs_of(again, [say("user", picture(90, 70), "?"), say("assistant", "yes")])
    for key in batch:
        assert torch.equal(batch[key], again_batch[key]), key
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**batch).logits, model(**batch).logits)


def test_a_saved_checkpoint_is_plain_transformers(tiny, tmp_path):
    model, processor = tiny
    names = {path.name for path in save(model, processor, tmp_path).iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    } <= names
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "medvlm"
    assert config["architectures"] == ["MedVLMForConditionalGeneration"]
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        roots = {".".join(key.split(".")[:2]) for key in file.keys()}  # noqa: SIM118
    assert roots == {"model.vision_tower", "model.connector", "model.language_model"}  # the head is tied


@pytest.mark.parametrize("kind", TINY_DECODERS)
def test_any_causal_decoder(kind, tmp_path, say, picture, inputs_of):
    folder = save_decoder(kind, tmp_path / "decoder")
    model, processor = new_model(folder, "test", decoder_layers=2, max_pixels=96 * 96)
    assert model.config.text_config.model_type == kind
    assert len(next(m for m in model.model.language_model.modules() if isinstance(m, torch.nn.ModuleList))) == 2
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == TINY_DECODERS[kind]["tie_word_embeddings"]
    batch = inputs_of(processor, [say("user", picture(60, 60), "?"), say("assistant", "yes")])
    loss = model(**batch, loss_on_labels_only=True).loss
    loss.backward()
    assert torch.isfinite(loss)
    prompt = inputs_of(processor, [say("user", picture(60, 60), "?")], prompt=True)
    before = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    save(model, processor, tmp_path / "vlm")
    again, _ = load(tmp_path / "vlm")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert torch.equal(again.generate(**prompt, max_new_tokens=5, do_sample=False), before)


def test_text_alone_gives_the_decoders_own_logits(tmp_path):
    """Nothing of the decoder is lost: without images the model is the language model it was built from."""
    folder = save_decoder("gemma2", tmp_path)
    decoder = AutoModelForCausalLM.from_pretrained(folder).eval()
    model, _ = new_model(folder, "test", max_pixels=96 * 96)
    ids = AutoTokenizer.from_pretrained(folder)("the heart is not enlarged", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected, got = decoder(ids).logits, model(ids).logits
    torch.testing.assert_close(got[..., : expected.shape[-1]], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("tower", "arguments"),
    [
        ("naflexvit_base_patch16_gap", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("naflexvit_base_patch16_parfac_gap", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("vit_base_patch16_siglip_224", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("vit_small_patch14_reg4_dinov2", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
        ("eva02_tiny_patch14_224", {"embed_dim": 48, "depth": 2, "num_heads": 2}),
        ("vit_small_patch16_dinov3", {"embed_dim": 48, "depth": 2, "num_heads": 2}),
    ],
)
def test_any_timm_vit_by_name(tower, arguments, tmp_path, say, picture, inputs_of):
    model, processor = new_model("tiny", tower, tower_args=arguments, max_pixels=112 * 112)
    images = [picture(60, 110), picture(112, 40, 1)]
    batch = inputs_of(processor, [say("user", *images, "?"), say("assistant", "yes")])
    model(**batch).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []  # nothing built is left unused
    save(model.eval(), processor, tmp_path)
    again, _ = load(tmp_path)
    with torch.no_grad():  # buffers that are not saved (rotary positions) come back too
        assert torch.equal(again(**batch).logits, model(**batch).logits)
        together = model.model.encode_images(batch["pixel_values"], batch["image_grid_thw"])[0]
        first = processor.image_processor(images[0], return_tensors="pt")
        alone = model.model.get_image_features(**first).pooler_output[0]
    torch.testing.assert_close(alone, together[: len(alone)], rtol=0, atol=5e-6)


def test_one_channel_tower_reads_grey_and_colour(say, picture, inputs_of):
    model, processor = new_model("tiny", "test", tower_args={"in_chans": 1}, max_pixels=96 * 96)
    assert processor.image_processor.num_channels == 1
    batch = inputs_of(processor, [say("user", picture(60, 60), picture(60, 60, 1, colour=True)), say("assistant", "a")])
    assert batch["pixel_values"].shape[1] == 256
    assert torch.isfinite(model(**batch).loss)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet18", "not a vision transformer"),
        ("swin_tiny_patch4_window7_224", "not a vision transformer"),
        ("convnext_tiny", "not a vision transformer"),
        ("vit_tiny_patch61_224", "timm has no model named"),
    ],
)
def test_towers_that_are_no_vit_are_refused(name, sentence):
    with pytest.raises(VisionTowerError, match=sentence):
        VisionTower(name)


def test_tower_options_that_do_not_fit_are_refused():
    with pytest.raises(VisionTowerError, match="does not take these options"):
        VisionTower("vit_tiny_patch16_224", {"embed_dimension": 3})
    with pytest.raises(VisionTowerError, match="patch_drop_rate"):
        VisionTower("vit_tiny_patch16_224", {"patch_drop_rate": 0.5})


def test_vision_weights_of_a_classic_vit_load_from_a_file(tmp_path, picture):
    """A file as timm saves it: convolutional patch embedding, class token inside the position embedding, a head."""
    import timm
    from safetensors.torch import save_file

    small = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    torch.manual_seed(3)
    classic = timm.create_model("vit_tiny_patch16_224", img_size=64, **small).eval()
    file = tmp_path / "vit.safetensors"
    save_file(classic.state_dict(), file)
    model, processor = new_model(
        "tiny", "vit_tiny_patch16_224", tower_args={**small, "img_size": 64}, vision_weights=file
    )
    image = picture(64, 64, colour=True)
    batch = processor.image_processor(image, return_tensors="pt")
    pixels = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = classic.forward_features(pixels)[:, 1:]
        got = model.model.get_image_features(**batch).last_hidden_state
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    with pytest.raises(VisionTowerError, match=r"lacks .* tensors of this tower"):
        new_model("tiny", "vit_tiny_patch16_224", tower_args={**small, "img_size": 64, "depth": 3}, vision_weights=file)
    with pytest.raises(VisionTowerError, match=r"other shapes than this tower's.*img_size"):
        new_model("tiny", "vit_tiny_patch16_224", tower_args=small, vision_weights=file)
    with pytest.raises(VisionTowerError, match="no vision weights at"):
        new_model("tiny", "test", vision_weights=tmp_path / "none.safetensors")


def test_vision_weights_of_a_pooling_naflex_model_load_from_a_file(tmp_path):
    """Its last norm stands behind the pooling; ours stands on every patch."""
    import timm
    from safetensors.torch import save_file

    small = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    torch.manual_seed(4)
    donor = timm.create_model("naflexvit_base_patch16_gap", **small)
    torch.nn.init.normal_(donor.fc_norm.weight)
    save_file(donor.state_dict(), tmp_path / "gap.safetensors")
    model, _ = new_model(
        "tiny", "naflexvit_base_patch16_gap", tower_args=small, vision_weights=tmp_path / "gap.safetensors"
    )
    assert torch.equal(model.model.vision_tower.encoder.norm.weight, donor.fc_norm.weight)
    assert torch.equal(model.model.vision_tower.encoder.embeds.proj.weight, donor.embeds.proj.weight)


def test_pretrained_weights_without_a_hub_are_met_with_a_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(VisionTowerError, match=r"pass a file as vision_weights"):
        VisionTower("vit_tiny_patch16_224").load_pretrained()


def test_counts(tiny):
    model, processor = tiny
    counts = parameter_counts(model)
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["lm_head"] == 0
    (size, grid, tokens), *_ = token_counts(processor, [(128, 128), (2000, 1000)])
    assert (size, grid, tokens) == ((128, 128), (8, 8), 16)


def test_image_tokens_start_as_loud_as_text(built, picture):
    for connector in ("merge", "linear", "perceiver"):
        model, processor = built(connector)
        batch = processor.image_processor(picture(128, 128), return_tensors="pt")
        with torch.no_grad():
            image = model.model.encode_images(**batch)[0].pow(2).mean().sqrt()
        text = model.get_input_embeddings().weight.detach().pow(2).mean().sqrt()
        assert 0.3 < image / text < 3, connector


def test_kept_layers_are_spread():
    assert kept_layers(30, 30) == list(range(30))
    assert kept_layers(30, 2) == [0, 29]
    assert kept_layers(30, 1) == [0]
    assert kept_layers(5, 3) == [0, 2, 4]
    with pytest.raises(CheckpointError, match="from 1 to 5, got 6"):
        kept_layers(5, 6)


def test_the_same_seed_builds_the_same_model():
    one, two, other = (new_model("tiny", "test", seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["model.connector.fc1.weight"], other["model.connector.fc1.weight"])


def test_wrong_folders_are_met_with_a_sentence(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        load(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="'llama', not a medvlm checkpoint"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "medvlm"}')
    with pytest.raises(CheckpointError, match="weights are missing"):
        load(tmp_path)
    model, processor = tiny
    save(model, processor, tmp_path / "runs" / "step-10")
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"did you mean .*step-10"):
        load(tmp_path / "runs")
    with pytest.raises(CheckpointError, match="no tokenizer for decoder"):
        new_model(tmp_path / "nothing-here", "test")


@pytest.mark.slow
def test_the_default_decoder_still_talks(tmp_path, say, picture, inputs_of):
    assert smollm2_file().suffix == ".gguf"
    model, processor = new_model()
    prompt = inputs_of(processor, [say("user", "What is the capital of France?")], prompt=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in processor.decode(answer[0])
    save(model, processor, tmp_path)
    again, loaded = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    prompt = inputs_of(loaded, [say("user", picture(300, 200), "What is this?")], prompt=True)
    assert again.generate(**prompt, max_new_tokens=5, do_sample=False).shape[1] > prompt["input_ids"].shape[1]
    small, _ = new_model(decoder_layers=4)
    assert len(small.model.language_model.layers) == 4
    assert torch.equal(
        small.model.language_model.layers[3].mlp.up_proj.weight,
        model.model.language_model.layers[29].mlp.up_proj.weight,
    )
