"""A small tree, made of concepts that the tests write, built by the real builder."""

from pathlib import Path

import pytest

from med_entity_tree.build import build_tree
from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.tree import Tree


def concepts() -> list[Concept]:
    def mondo(number, name, *parents, names=()):
        return Concept(
            f"MONDO:{number}", name, "MONDO", "disease", [Name(n) for n in names], [f"MONDO:{p}" for p in parents]
        )

    def hp(number, name, *parents, names=()):
        return Concept(f"HP:{number}", name, "HP", "finding", [Name(n) for n in names], [f"HP:{p}" for p in parents])

    def uberon(number, name, *parents, names=()):
        return Concept(
            f"UBERON:{number}", name, "UBERON", "anatomy", [Name(n) for n in names], [f"UBERON:{p}" for p in parents]
        )

    respiratory = mondo("0005087", "respiratory system disorder")
    copd = mondo(1, "chronic obstructive pulmonary disease", "0005087", names=["COPD"])
    embolism = mondo(2, "pulmonary embolism", "0005087", names=["PE", "pulmonary thromboembolism"])
    exercise = mondo(3, "physical exhaustion", "0005087", names=["PE"])
    pneumonia = mondo(4, "pneumonia", "0005087", names=["lung infection"])
    lobar = mondo(5, "lobar pneumonia", 4)
    pneumonia.relations.append(Relation("has_finding", "HP:11", 0.9, "PMID:1"))
    lobar.relations.append(Relation("has_finding", "HP:12", 0.4))
    return [
        respiratory,
        copd,
        embolism,
        exercise,
        pneumonia,
        lobar,
        hp("0002086", "Abnormality of the respiratory system"),
        hp(10, "Pneumothorax", "0002086"),
        hp(11, "Pleural effusion", "0002086", names=["fluid around the lung"]),
        hp(12, "Consolidation", "0002086"),
        hp(13, "Nodule", "0002086"),
        uberon("0001004", "respiratory system"),
        uberon(20, "lung", "0001004"),
        uberon(21, "lower lobe of left lung", 20, names=["left lower lobe"]),
        uberon(22, "pleura", "0001004"),
        Concept("DCM:CT", "Computed Tomography", "DICOM", "modality", [Name("CT"), Name("CT scan")]),
    ]


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory) -> Tree:
    folder: Path = tmp_path_factory.mktemp("met") / "tree"
    build_tree(folder, ontologies=(), more=[("tests", lambda dropped: iter(concepts()))])
    return Tree(folder)
