"""A small tree of the chest with the ids of the packages' tree, built by the real builder, and shards to tag."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from med_entity_tree.build import build_tree
from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.tree import Tree
from pretrain.shards import DatasetInfo, ShardSet, ShardWriter
from vlm.imaging import MedicalImage
from vlm.imaging.image import Provenance
from vlm.sample import EncodedImage, Sample, SampleProvenance

EFFUSION, CARDIOMEGALY, NODULE = "HP:0002202", "HP:0001640", "HP:0033608"
PNEUMOTHORAX, CONSOLIDATION, OPACITY = "MONDO:0002076", "RADDICT:consolidation", "HP:0031457"
LUNG, HEART, CHEST, FAILURE, PNEUMONIA = (
    "UBERON:0002048",
    "UBERON:0000948",
    "UBERON:0001443",
    "MONDO:0005252",
    "MONDO:0005249",
)


def concepts() -> list[Concept]:
    def finding(identity, name, *parents, names=(), relations=()):
        return Concept(
            identity, name, identity.split(":")[0], "finding", [Name(n) for n in names], list(parents), [], relations
        )

    def disease(identity, name, *parents, names=(), relations=(), xrefs=()):
        return Concept(
            identity,
            name,
            identity.split(":")[0],
            "disease",
            [Name(n) for n in names],
            list(parents),
            list(xrefs),
            relations,
        )

    def place(identity, name, *parents, xrefs=()):
        return Concept(identity, name, "UBERON", "anatomy", [], list(parents), list(xrefs))

    respiratory, heart_findings = "HP:0002086", "HP:0001626"
    return [
        finding(respiratory, "Abnormality of the respiratory system"),
        finding(heart_findings, "Abnormality of the cardiovascular system"),
        finding("HP:0002103", "Abnormal pleura morphology", respiratory),
        finding(EFFUSION, "Pleural effusion", "HP:0002103", names=["fluid around the lung"]),
        finding("HP:0031944", "Pleural thickening", "HP:0002103"),
        finding("HP:0002102", "Pleuritis", "HP:0002103"),
        finding("HP:0100751", "Pleural plaque", "HP:0002103"),
        finding(OPACITY, "Pulmonary opacity", respiratory),
        finding(CONSOLIDATION, "Consolidation", OPACITY, names=["airspace consolidation"]),
        finding("HP:0025179", "Ground-glass opacification", OPACITY),
        finding(NODULE, "Pulmonary nodule", OPACITY, names=["lung nodule"]),
        finding("HP:0033821", "Pulmonary mass", OPACITY),
        finding("HP:0025426", "Abnormal bronchus morphology", respiratory),
        finding("HP:0002110", "Bronchiectasis", "HP:0025426"),
        finding("HP:0000775", "Abnormality of the diaphragm", respiratory),
        finding("HP:6000008", "Hemidiaphragm elevation", "HP:0000775"),
        finding("HP:0045049", "Abnormal lung volume", respiratory),
        finding("HP:0033663", "Air trapping", "HP:0045049"),
        finding("HP:0100750", "Atelectasis", respiratory, names=["collapse of the lung"]),
        finding(CARDIOMEGALY, "Cardiomegaly", heart_findings, names=["enlarged heart"]),
        finding("HP:0001635", "Congestive heart disorder sign", heart_findings),
        disease("MONDO:0005087", "respiratory system disorder"),
        disease(PNEUMOTHORAX, "pneumothorax", "MONDO:0005087"),
        disease(PNEUMONIA, "pneumonia", "MONDO:0005087", relations=[Relation("has_finding", CONSOLIDATION, 0.9)]),
        disease("MONDO:0004979", "asthma", "MONDO:0005087"),
        disease(
            "MONDO:0005002",
            "chronic obstructive pulmonary disease",
            "MONDO:0005087",
            names=["COPD"],
            relations=[Relation("has_finding", "HP:0033663", 0.7)],
        ),
        *(
            disease(f"MONDO:900000{n}", name, "MONDO:0005087", relations=[Relation("has_finding", finding_id, 0.8)])
            for n, (name, finding_id) in enumerate(
                [
                    ("ciliary dyskinesia", "HP:0002110"),
                    ("phrenic nerve palsy", "HP:6000008"),
                    ("mesothelioma", "HP:0031944"),
                    ("metastatic carcinoma", NODULE),
                ]
            )
        ),
        disease("MONDO:0004995", "cardiovascular disorder"),
        disease(
            FAILURE,
            "heart failure",
            "MONDO:0004995",
            relations=[Relation("has_finding", CARDIOMEGALY, 0.8), Relation("has_finding", EFFUSION, 0.4)],
        ),
        disease("MONDO:0005044", "hypertensive disorder", "MONDO:0004995"),
        place("UBERON:0001004", "respiratory system"),
        place(LUNG, "lung", "UBERON:0001004", xrefs=["SNOMEDCT:39607008"]),
        place("UBERON:0000977", "pleura", "UBERON:0001004"),
        place("UBERON:0004535", "cardiovascular system"),
        place(HEART, "heart", "UBERON:0004535", xrefs=["SNOMEDCT:80891009"]),
        place(CHEST, "chest"),
        place("UBERON:0006074", "lumbar region of vertebral column"),
        Concept("DCM:CT", "Computed Tomography", "DICOM", "modality", [Name("CT"), Name("CT scan")]),
        Concept("DCM:DX", "Digital Radiography", "DICOM", "modality", [Name("radiograph"), Name("x-ray")]),
        Concept("DCM:CR", "Computed Radiography", "DICOM", "modality", []),
        Concept("DCM:MR", "Magnetic Resonance", "DICOM", "modality", [Name("MRI")]),
    ]


def build_chest_tree(folder: Path) -> Tree:
    build_tree(folder, ontologies=(), more=[("tests", lambda dropped: iter(concepts()))])
    return Tree(folder)


def picture(seed: int, *, modality: str | None = "DX", shape: tuple[int, int] = (48, 40), flat: bool = False):
    """A smooth field with grain, as a 12-bit film, so that nothing about it is blurred or blank."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    field = 2000 + 900 * np.sin(x / (5 + seed % 5)) * np.cos(y / (7 + seed % 3)) + random.normal(0, 250, shape)
    pixels = np.full(shape, 900) if flat else field.clip(0, 4095)
    provenance = Provenance(sha256=f"{seed:064x}", kind="dicom")
    return MedicalImage(pixels.astype(np.uint16), "stored", None, "unknown", modality, False, (), None, provenance)


def sample(
    key: str, report: str, *, seed: int = 0, modality: str | None = "DX", entities=(), extra=None, images=1, asked=""
) -> Sample:
    pictures = [EncodedImage.encode(picture(seed * 10 + i, modality=modality)) for i in range(images)]
    parts = [{"type": "image", "image": i} for i in range(images)]
    messages = [
        {"role": "user", "content": [*parts, {"type": "text", "text": asked or "Report this examination."}]},
        {"role": "assistant", "content": report},
    ]
    provenance = SampleProvenance(
        "tests", "CC0-1.0", True, f"p{seed}", f"s{seed}", tuple(p.meta["provenance"]["sha256"] for p in pictures)
    )
    return Sample(key, messages, pictures, provenance, list(entities), extra=dict(extra or {}))


def write_samples(folder: Path, samples, per_shard: int = 4) -> ShardSet:
    with ShardWriter(folder, DatasetInfo("tests", "tests", "CC0-1.0", True), max_samples=per_shard) as writer:
        for one in samples:
            writer.write(one)
    return ShardSet.open(folder)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()
