"""A corpus with known names, and a real server that plays the model."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from med_entity_tree.encoder import SentenceEncoder

_path = Path(__file__).parents[2] / "vlm" / "json_endpoint.py"
_spec = importlib.util.spec_from_file_location("json_endpoint", _path)
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
json_endpoint, first_user = _module.json_endpoint, _module.first_user

# name -> kind, number of documents that hold it
NAMES = {
    "calcified nodule": ("finding", 14),
    "spiculated nodule": ("finding", 11),
    "apical pneumothorax": ("finding", 12),
    "loculated pleural effusion": ("finding", 11),
    "patchy consolidation": ("finding", 10),
    "Pleural effusion": ("finding", 13),
    "cavitating nodule": ("finding", 4),  # below the floor of 10
    "streaky whiteness": ("finding", 12),  # no head in the tree: for the arbiter
    "gentle remark": ("finding", 11),  # no entity at all: for the arbiter
    "portable device": ("procedure", 10),  # alone of its kind: below the floor of types
}


def corpus() -> list[tuple[str, str]]:
    """40 documents; a name stands in as many of them as ``NAMES`` says, from a place of its own on."""
    made = []
    for number in range(40):
        here = [name for n, (name, (_, often)) in enumerate(NAMES.items()) if (number - 3 * n) % 40 < often]
        made.append((f"r{number:02d}", " ".join(f"There is a {name} on view {number}." for name in here) or "Normal."))
    return made


def play(body: dict, times: int) -> tuple[int, str]:
    """A model that lists the names of ``NAMES``, makes one up, and as an arbiter searches before it decides."""
    system = body["messages"][0]["content"]
    if system.startswith("You keep a tree"):
        return 200, json.dumps(_arbitrate(body["messages"]))
    found = []
    for number, text in re.findall(r"\[(\d+)\]\n(.*?)(?=\n\n|\Z)", first_user(body), re.S):
        for name, (kind, _) in NAMES.items():
            if name in text:
                found.append({"passage": int(number), "name": name, "kind": kind})
        if "calcified nodule" in text:
            found.append({"passage": int(number), "name": "miliary tuberculosis", "kind": "disease"})
    return 200, json.dumps({"mentions": found})


def _arbitrate(messages: list[dict]) -> dict:
    name = re.findall(r"Name: (.*)", messages[1]["content"])[0]
    turn = {"thought": "", "action": "decide", "argument": "", "decision": "", "reason": ""}
    rounds = sum(message["role"] == "assistant" for message in messages)
    if name == "gentle remark":
        return turn | {"action": "evidence"} if rounds == 0 else turn | {"decision": "drop", "reason": "no entity"}
    if rounds == 0:
        return turn | {"decision": "parent", "argument": "HP:12", "reason": "guessed without looking"}
    if rounds == 1:
        return turn | {"action": "search_tree", "argument": "consolidation"}
    return turn | {"decision": "parent", "argument": "HP:12", "reason": "white lung is consolidated"}


@pytest.fixture
def endpoint() -> Iterator:
    with json_endpoint(play) as running:
        yield running


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(device="cpu")
