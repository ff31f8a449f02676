"""One vLLM engine in one process, driven by JSON lines; a child of the tests, because vLLM changes torch for good.

    python engine_worker.py '{"model": "FOLDER", ...arguments of vllm.LLM}'

Reads one command a line from standard input and answers each with one line on standard output.
"""

import json
import os
import sys

from PIL import Image


def generate(llm, prompts, max_tokens, batched, adapter=None):
    """Greedy answers to prompts of text and image files, one at a time or all at once."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=0, ignore_eos=True)
    lora = LoRARequest("adapter", 1, adapter) if adapter else None
    requests = []
    for prompt in prompts:
        images = [Image.open(path).convert("RGB") for path in prompt["images"]]
        request = {"prompt": prompt["text"]}
        if images:
            request["multi_modal_data"] = {"image": images}
        requests.append(request)
    if batched:
        outputs = llm.generate(requests, sampling, use_tqdm=False, lora_request=lora)
    else:
        outputs = [llm.generate([request], sampling, use_tqdm=False, lora_request=lora)[0] for request in requests]
    return [
        {
            "prompt_ids": list(output.prompt_token_ids),
            "ids": list(output.outputs[0].token_ids),
            "logprobs": [
                step[token].logprob
                for token, step in zip(output.outputs[0].token_ids, output.outputs[0].logprobs, strict=True)
            ],
            "cached": output.num_cached_tokens or 0,
        }
        for output in outputs
    ]


def forget(llm):
    """Empty the prefix, encoder and processor caches."""
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()
    llm.llm_engine.reset_mm_cache()


def max_image_tokens(llm):
    """What the plugin tells vLLM about the largest image, and what that image really becomes."""
    processor = llm.llm_engine.input_processor.renderer.get_mm_processor()
    promised = processor.info.get_mm_max_tokens_per_item(1024, {"image": 1})["image"]
    dummy = processor.get_dummy_mm_inputs({"image": 1})
    return [promised, dummy["mm_placeholders"]["image"][0].length]


COMMANDS = {"generate": generate, "forget": forget, "max_image_tokens": max_image_tokens}


def main():
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM writes to standard output: send that to the log
    from vllm import LLM
    from vllm.exceptions import VLLMValidationError

    llm = LLM(**json.loads(sys.argv[1]))
    print(json.dumps({"result": "ready"}), file=replies, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = {"result": COMMANDS[command.pop("do")](llm, **command)}
        except (
            ValueError,
            VLLMValidationError,
        ) as error:  # refused by vLLM; anything else ends the process and the test
            reply = {"refused": str(error)}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
