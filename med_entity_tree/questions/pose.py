"""Chains in words: the start by its name, everything between it and the answer only by how it is reached.

A hop has several wordings, and a chain three forms: one sentence (up to two hops), numbered steps, and entities that
are called X1, X2 and so on. The seed of the question chooses. Where several entities fit a step any of them counts: the
system message says so, and that is what the check derives.
"""

import random
from collections.abc import Mapping, Sequence

from med_entity_tree.entity import Entity
from med_entity_tree.errors import OntologyError
from med_entity_tree.questions.askable import display_name
from med_entity_tree.questions.hops import HIERARCHY, Chain, Hop
from vlm.messages import Message

LETTERS = "ABCDEFGH"

SYSTEM = (
    "The question follows facts of a medical knowledge graph. Where several entities fit a step, any of them may be "
    "taken. Exactly one option is right. Answer with its letter."
)

# (kind, forward): wordings of what lies at the other end of the hop from {x}; {share} is the least frequency.
_WORDINGS: Mapping[tuple[str, bool], tuple[str, ...]] = {
    ("has_finding", True): (
        "a clinical feature of {x}",
        "a finding recorded in patients with {x}",
        "a manifestation of {x}",
    ),
    ("has_finding", False): (
        "a condition with {x} among its clinical features",
        "a condition in which {x} is recorded",
        "a condition that can present with {x}",
    ),
    ("located_in", True): (
        "the part of the body in which {x} is located, going by its name",
        "the body part that the name of {x} points to",
    ),
    ("located_in", False): (
        "a condition or finding that its name places in {x}",
        "a condition or finding located, by its name, in {x}",
    ),
    ("parent", True): (
        "the broader entry directly above {x} in the entity tree",
        "the group under which {x} is filed in the entity tree",
    ),
    ("parent", False): (
        "an entry directly below {x} in the entity tree",
        "an entity filed directly under {x} in the entity tree",
    ),
    ("is_a", True): ("a broader class directly above {x}", "a class that {x} directly belongs to"),
    ("is_a", False): ("a direct subtype of {x}", "a narrower class directly below {x}"),
    ("predisposes_to", True): ("a disease to which {x} predisposes",),
    ("predisposes_to", False): ("a susceptibility that predisposes to {x}",),
    ("arises_from", True): ("a condition from which {x} arises",),
    ("arises_from", False): ("a condition that arises from {x}",),
    ("resembles", True): ("a disease whose features {x} shares",),
    ("resembles", False): ("a disease that shares features of {x}",),
    ("progresses_to", True): ("a disease to which {x} progresses",),
    ("progresses_to", False): ("a disease that progresses to {x}",),
    ("differential_of", True): ("a condition from which {x} has to be told apart",),
    ("differential_of", False): ("a condition in the differential diagnosis of {x}",),
}
_OFTEN: Mapping[bool, tuple[str, ...]] = {
    True: (
        "a clinical feature seen in at least {share} % of described patients with {x}",
        "a finding that at least {share} % of described patients with {x} have",
    ),
    False: (
        "a condition in which at least {share} % of described patients have {x}",
        "a condition with {x} in at least {share} % of described patients",
    ),
}
# In anatomy and in UBERON's hierarchy a thing stands below what it is a kind of, and below what it is a part of.
_PARTS: Mapping[bool, tuple[str, ...]] = {
    True: (
        "a structure that {x} is directly a part or a kind of",
        "a structure directly above {x}, as its whole or its class",
    ),
    False: (
        "a direct part or kind of {x}",
        "a structure directly below {x}, as its part or as a kind of it",
    ),
}


def wordings(hop: Hop, root: str) -> tuple[str, ...]:
    """All wordings of a hop that ends below ``root``.

    Raises:
        OntologyError: there is no wording for the kind of edge.
    """
    if hop.kind == "is_a_or_part_of" or (hop.kind in ("is_a", "parent") and root == "anatomy"):
        return _PARTS[hop.forward]
    if hop.kind == "has_finding" and hop.at_least:
        return _OFTEN[hop.forward]
    if (hop.kind, hop.forward) not in _WORDINGS:
        raise OntologyError(f"there is no wording for {hop.key}", "Add one to med_entity_tree/questions/pose.py")
    return _WORDINGS[hop.kind, hop.forward]


def stem(chain: Chain, entities: Mapping[str, Entity], rng: random.Random) -> str:
    """The question without its options."""
    chosen = [
        rng.choice(wordings(hop, entities[node].root)).replace("{share}", f"{hop.at_least * 100:.0f}")
        for hop, node in zip(chain.hops, chain.nodes[1:], strict=True)
    ]
    name = f'"{display_name(entities[chain.start])}"'
    if len(chosen) == 1:
        return _sentence(name, chosen, rng)
    forms = [_steps, _named]
    # One sentence of two hops reads well when neither relative clause splits the other, and classes have no patients.
    if len(chosen) == 2 and chain.hops[0].kind not in HIERARCHY and all(w.endswith("{x}") for w in chosen):
        forms.append(_sentence)
    return rng.choice(forms)(name, chosen, rng)


def _sentence(name: str, chosen: Sequence[str], rng: random.Random) -> str:
    phrase = name
    for wording in chosen:
        phrase = wording.replace("{x}", phrase)
    return rng.choice(["Which of these is {}?", "Which option is {}?", "Select {}."]).format(phrase)


def _steps(name: str, chosen: Sequence[str], rng: random.Random) -> str:
    first = rng.choice(["Work through these steps.", "Follow the chain.", "Find the last link of this chain."])
    lines = [first, f"1. Start with {name}."]
    for n, wording in enumerate(chosen, start=2):
        lines.append(f"{n}. Take {wording.replace('{x}', f'the entity of step {n - 1}')}.")
    lines.append(f"Which of these can step {len(lines) - 1} be?")
    return "\n".join(lines)


def _named(name: str, chosen: Sequence[str], rng: random.Random) -> str:
    parts = [
        f"X{n} is {wording.replace('{x}', f'X{n - 1}' if n > 1 else name)}." for n, wording in enumerate(chosen, 1)
    ]
    last = f"X{len(parts)}"
    return " ".join([*parts, rng.choice([f"Which of these can {last} be?", f"Which option can be {last}?"])])


def option_name(entity: Entity) -> str:
    """A name as an option shows it: with a capital, since the case of names tells the ontologies apart."""
    name = display_name(entity)
    return name[:1].upper() + name[1:]


def conversation(question: str, options: Sequence[str], answer: str) -> list[Message]:
    """Chat-completions messages: the rule, the question with its options, the letter of the right one."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options)]
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "\n".join([question, *lines])},
        {"role": "assistant", "content": answer},
    ]
