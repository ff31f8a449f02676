"""Sources that the tests write, a small tree, and a recipe that reads both."""

import csv
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from med_entity_tree.build import build_tree
from med_entity_tree.concept import Concept, Name

for beside in ("engine", "tagging", "alignment"):
    sys.path.insert(0, str(Path(__file__).parents[1] / beside))

FINDINGS = ("left pleural effusion", "right pneumothorax", "consolidation", "a calcified nodule", "cardiomegaly")
PLACES = ("the left lower lobe", "the right upper lobe", "the lingula", "both bases", "the right middle lobe")


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("engine-met") / "tree"

    def hp(number, name):
        return Concept(f"HP:{number}", name, "HP", "finding", [Name(f"{name}s")], ["HP:0002086"])

    concepts = [
        Concept("HP:0002086", "Abnormality of the respiratory system", "HP", "finding", [], []),
        *(hp(n, name) for n, name in enumerate(("Pneumothorax", "Pleural effusion", "Consolidation", "Nodule"), 10)),
    ]
    build_tree(folder, ontologies=(), more=[("tests", lambda dropped: iter(concepts))])
    return folder


def report(chance: random.Random, number: int) -> str:
    here, away = chance.sample(FINDINGS, 2)
    size = chance.randint(4, 60)
    return (
        f"Findings: There is {here} in {chance.choice(PLACES)}, about {size} mm in size. No {away} is seen. The heart "
        f"is compared with examination {number} of the patient, and the bones are unremarkable for the age.\n\n"
        f"Impression: {here.capitalize()} of {size} mm."
    )


@pytest.fixture
def reports(tmp_path) -> Path:
    """40 reports of 20 patients as a table, with rows that must go: empty, twice the same key, mojibake, a template."""
    chance, path = random.Random(0), tmp_path / "reports.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "patient", "text"])
        for number in range(40):
            writer.writerow([f"r{number}", f"p{number // 2}", report(chance, number)])
        writer.writerow(["empty", "p50", ""])
        writer.writerow(["r3", "p51", report(chance, 51)])
        writer.writerow(["junk", "p52", "|||| ---- #### %%%% @@@@ ~~~~ ^^^^ &&&& **** ////"])
    return path


@pytest.fixture
def films(tmp_path) -> Path:
    """Eight patients with a film and a report each, and two that cannot be read."""
    chance, folder = random.Random(1), tmp_path / "films"
    pixels = np.random.default_rng(0)
    for number in range(8):
        place = folder / f"q{number}"
        place.mkdir(parents=True)
        coarse = pixels.integers(0, 255, (9, 9), np.uint8)
        Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC).save(place / "film.png")
        (place / "film.txt").write_text(report(chance, 100 + number), "utf-8")
    (folder / "q6" / "film.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (folder / "q7" / "film.png").write_bytes((folder / "q0" / "film.png").read_bytes()[:400])
    return folder


@pytest.fixture
def recipe(tmp_path, tree, reports, films):
    """Writes the recipe of a run over both sources, changed by what is given; returns its path."""

    def write(**changes) -> Path:
        data = {
            "name": "both",
            "tree": str(tree),
            "part": 4,
            "max_drop": 0.5,
            "sources": [
                {"path": str(reports), "identity": "public", "licence": "CC0", "kind": "report"},
                {"path": str(films), "identity": "removed", "licence": "ours", "kind": "report"},
            ],
            "dedup": None,
            "split": {"train": 0.7, "val": 0.3},
            "shards": {"samples": 10},
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(data), "utf-8")  # JSON is YAML
        return path

    return write
