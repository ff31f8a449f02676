"""Models, prompts and engines for the tests of the vLLM plugin."""

import contextlib
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZES = ((48, 48), (64, 40), (33, 90), (120, 56), (100, 100), (200, 60), (17, 160))
ORGANS = ("heart", "left lung", "right lung", "spine", "diaphragm", "trachea", "ribs", "mediastinum", "liver", "aorta")
REQUESTS = (
    "Describe the {} in one sentence.",
    "What do you see near the {}?",
    "Write a short poem about the {}.",
    "Name three things that may harm the {}.",
    "Is the {} larger than before?",
    "Explain the {} to a child.",
    "Which colours surround the {}?",
)


class Refused(Exception):
    """The engine refused a request."""


class WorkerEngine:
    """A vLLM engine in a child process (`engine_worker.py`)."""

    def __init__(self, folder: Path, log: Path, **arguments):
        arguments = {
            "model": str(folder),
            "dtype": "float32",
            "block_size": 32,
            "enforce_eager": True,
            "max_model_len": 2048,
            "max_num_seqs": 16,
            "limit_mm_per_prompt": {"image": 4},
            "mm_processor_cache_gb": 0.25,
            "distributed_executor_backend": "uni",
            "seed": 0,
            **arguments,
        }
        environment = os.environ | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_PLUGINS": "medvlm",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("engine_worker.py")), json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self._read()

    def _read(self):
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the engine died:\n" + "\n".join(self.log.read_text().splitlines()[-40:]))
        reply = json.loads(line)
        if "refused" in reply:
            raise Refused(reply["refused"])
        return reply["result"]

    def call(self, do: str, **arguments):
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def generate(self, prompts, max_tokens=8, batched=True, **more):
        return self.call("generate", prompts=prompts, max_tokens=max_tokens, batched=batched, **more)

    def close(self):
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def draw_image(path: Path, height: int, width: int, seed: int) -> str:
    """A picture of coarse coloured blocks, different for each seed."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(path)
    return str(path)


def make_prompts(processor, folder: Path, count: int, seed: int = 0) -> list[dict]:
    """Prompts with one to four images of different shapes, before, between and after the text, over several turns."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    prompts = []
    for number in range(count):
        images = []
        for index in range(1 + number % 4):
            height, width = generator.choice(SIZES)
            images.append(
                draw_image(folder / f"{number}-{index}.png", height, width, seed * 100_003 + number * 7 + index)
            )
        first = generator.randint(1, len(images))
        parts = [{"type": "image"}] * first + [
            {"type": "text", "text": generator.choice(REQUESTS).format(generator.choice(ORGANS))}
        ]
        if generator.random() < 0.3:
            parts.insert(0, {"type": "text", "text": "Prior film, then today's."})
        messages = [{"role": "user", "content": parts}]
        if first < len(images):
            messages += [
                {"role": "assistant", "content": [{"type": "text", "text": "I need the other film."}]},
                {
                    "role": "user",
                    "content": [
                        *[{"type": "image"}] * (len(images) - first),
                        {"type": "text", "text": generator.choice(REQUESTS).format(generator.choice(ORGANS))},
                    ],
                },
            ]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompts.append({"text": text, "images": images})
    return prompts


@dataclass
class Reference:
    """What transformers answers: token ids and their log-probabilities."""

    prompt_ids: list[int]
    ids: list[int]
    logprobs: list[float]


def transformers_answers(model, processor, prompts, max_tokens: int) -> list[Reference]:
    """Greedy answers of transformers, one prompt at a time."""
    import torch

    answers = []
    for prompt in prompts:
        images = [Image.open(path).convert("RGB") for path in prompt["images"]]
        inputs = processor(text=[prompt["text"]], images=images or None, return_tensors="pt")
        inputs = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_logits=True,
            )
        length = inputs["input_ids"].shape[1]
        ids = output.sequences[0, length:].tolist()
        logits = torch.cat(output.logits).float()
        answers.append(
            Reference(
                prompt_ids=inputs["input_ids"][0].tolist(),
                ids=ids,
                logprobs=logits.log_softmax(-1)[range(len(ids)), ids].tolist(),
            )
        )
    return answers


def forced_logprobs(model, processor, prompts, ids: list[list[int]]) -> list[list[float]]:
    """Log-probabilities that the model gives to answers that it is told, one prompt at a time."""
    import torch

    found = []
    for prompt, answer in zip(prompts, ids, strict=True):
        images = [Image.open(path).convert("RGB") for path in prompt["images"]]
        inputs = processor(text=[prompt["text"]], images=images or None, return_tensors="pt")
        whole = torch.cat([inputs["input_ids"], torch.tensor([answer])], dim=1)
        pictures = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
        with torch.inference_mode():
            logits = model(input_ids=whole, attention_mask=torch.ones_like(whole), **pictures).logits
        length = inputs["input_ids"].shape[1]
        scores = logits[0, length - 1 : -1].float().log_softmax(-1)
        found.append(scores[range(len(answer)), answer].tolist())
    return found


LOUDNESS = {"test": 3.0, "small_cpu": 6.0}
CONNECTOR_OPTIONS = {
    "patch_merge_mlp": {"type": "patch_merge_mlp", "merge_size": 2},
    "linear": {"type": "linear"},
    "perceiver": {"type": "perceiver", "num_queries": 9, "depth": 1},
}


def make_tiny_decoder(folder: Path, tied: bool) -> str:
    """A random two-layer Llama with SmolLM2's tokenizer, as a folder (GGUF takes seconds to read)."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from vlm.build import load_tokenizer

    tokenizer = load_tokenizer("tiny")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # the smallest that vLLM's attention takes on a CPU
        tie_word_embeddings=tied,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_checkpoint(folder: Path, connector: str, decoder: str, tower: str = "test", dtype: str = "float32"):
    """A model with random tower and connector whose answers depend on the image, saved; returns (model, processor).

    A fresh connector whispers, and a fresh tiny decoder hardly attends: both are turned up, else every image would get
    the same answer and equality would prove nothing.
    """
    import torch

    from vlm.build import load, new_model, save

    model, processor = new_model(decoder=decoder, tower=tower, connector=CONNECTOR_OPTIONS[connector], seed=7)
    with torch.no_grad():
        layer = model.model.connector.output_layer
        layer.weight.mul_(LOUDNESS[tower])
        if tower == "test":
            for module in model.model.language_model.layers.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.normal_(std=1.5 / module.in_features**0.5)
    save(model.to(getattr(torch, dtype)), processor, folder)
    return load(folder)  # as a user gets it: .to(bfloat16) also rounded the rotary frequencies, loading keeps them


TRAINED_FINDINGS = ("cardiomegaly", "effusion_left", "effusion_right", "pacemaker")


def train_checkpoint(folder: Path, dtype: str):
    """A quarter of the quickstart: simulated films, a warm-up, some instruction. Returns (model, processor, shards)."""
    from pretrain.importing import Conversation, ImportOptions, SimulatedFolder, import_source
    from pretrain.sources.chest import simulate
    from pretrain.training.loop import train
    from pretrain.training.recipe import TrainRecipe
    from vlm.build import load, save
    from vlm.recipe import load_recipe

    recipes = Path(__file__).resolve().parents[3] / "recipes"
    simulate(folder / "simulated", 400, 0, size=192, findings=TRAINED_FINDINGS)
    import_source(
        SimulatedFolder(folder / "simulated"),
        folder / "shards",
        ImportOptions(conversation=Conversation(mode="report"), workers=1),
    )
    data = [f"data.train={folder / 'shards/train'}", f"data.val={folder / 'shards/val'}", "eval.samples=10"]
    stages = (
        ("quickstart_warmup.yaml", "warmup", ["steps=120"]),
        ("quickstart_instruct.yaml", "instruct", ["steps=240", f"model.init={folder / 'warmup/model'}"]),
    )
    for recipe, name, more in stages:
        assert train(load_recipe(TrainRecipe, recipes / recipe, [f"run={folder / name}", *data, *more])).finished
    model, processor = load(folder / "instruct/model", dtype=dtype)
    save(model, processor, folder / "model")
    return *load(folder / "model"), folder / "shards/val"


def film_prompts(processor, shards: Path, folder: Path, count: int, seed: int = 0) -> list[dict]:
    """Questions of held-out studies with one to four of their films; the last one shown is asked about."""
    from pretrain.shards.index import ShardSet
    from pretrain.shards.reader import ShardReader

    folder.mkdir(parents=True, exist_ok=True)
    reader, generator = ShardReader(ShardSet.open(shards)), random.Random(seed)
    length, prompts = len(reader), []
    for number in range(count):
        images: list[str] = []
        while len(images) < 1 + number % 4:
            sample = reader.sample(generator.randrange(length))
            file = folder / f"{number}-{len(images)}.png"
            Image.fromarray(sample.images[0].decode().render()).convert("RGB").save(file)
            images.append(str(file))
        asked = [q for q in sample.extra["qa"] if not q.get("view")]
        question = generator.choice(asked)["question"]
        content = [*[{"type": "image"}] * len(images), {"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        prompts.append({"text": text, "images": images})
    return prompts


class Lab:
    """What the tests share: checkpoints are made once a session, engines run one at a time."""

    make_prompts = staticmethod(make_prompts)
    film_prompts = staticmethod(film_prompts)
    answers = staticmethod(transformers_answers)
    forced_logprobs = staticmethod(forced_logprobs)
    Refused = Refused

    def __init__(self, folder: Path):
        self.folder = folder
        self._checkpoints: dict[str, tuple] = {}

    def checkpoint(self, connector: str, **arguments):
        """(folder, model, processor); see `make_checkpoint`."""
        key = "-".join([connector, *(f"{name}_{value}" for name, value in sorted(arguments.items()))])
        if key not in self._checkpoints:
            if "decoder" not in arguments:
                arguments["decoder"] = self.tiny_decoder(arguments.pop("tied", True))
            folder = self.folder / key
            self._checkpoints[key] = (folder, *make_checkpoint(folder, connector, **arguments))
        return self._checkpoints[key]

    def trained(self, dtype: str):
        """(folder, model, processor, held-out shards) of a model that has learnt to answer; see `train_checkpoint`."""
        folder = self.folder / "trained"
        return folder / "model", *train_checkpoint(folder, dtype)

    def tiny_decoder(self, tied: bool) -> str:
        folder = self.folder / f"decoder-tied_{tied}"
        return str(folder) if folder.is_dir() else make_tiny_decoder(folder, tied)

    @contextlib.contextmanager
    def engine(self, folder: Path, **arguments):
        engine = WorkerEngine(folder, self.folder / f"{folder.name}.log", **arguments)
        try:
            yield engine
        finally:
            engine.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Lab:
    pytest.importorskip("vllm")
    return Lab(tmp_path_factory.mktemp("vllm"))
