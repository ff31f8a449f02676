"""Entities from DICOM headers: modality, body part, coded regions and procedures; view and side beside them.

Only coded and defined-term attributes are read (:data:`KEYWORDS`), so no name, date or free description enters. A code
is looked up by itself (SNOMED RT codes through PS3.16's table to SNOMED CT), then by its meaning; a body part by its
defined term (PS3.16 Annex L, ``body_parts.tsv``), then as words. Words of a header give anatomy and procedures only: a
procedure that is called "rule out pneumonia" says nothing of the patient. What stays without an entity is counted.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from med_entity_tree.names import name_key
from med_entity_tree.packages import MODALITIES
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.tagging.tags import Tag

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Facts = dict[str, Any]

_TEXTS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view_position": "ViewPosition",
    "laterality": "ImageLaterality",
    "side": "Laterality",
}
_CODES = {
    "regions": "AnatomicRegionSequence",
    "structures": "PrimaryAnatomicStructureSequence",
    "views": "ViewCodeSequence",
    "procedures": "ProcedureCodeSequence",
    "requested": "RequestedProcedureCodeSequence",
}
KEYWORDS = (*_TEXTS.values(), *_CODES.values(), "SharedFunctionalGroupsSequence")
_DEFLATED = "1.2.840.10008.1.2.1.99"

# Coding scheme designators of PS3.16 chapter 8, as the tree spells their vocabularies.
_SCHEMES = {
    "SCT": "SNOMEDCT", "SRT": "SNOMEDCT", "SNM3": "SNOMEDCT", "99SDM": "SNOMEDCT", "DCM": "DCM", "FMA": "FMA",
    "MSH": "MESH", "UMLS": "UMLS", "RADLEX": "RADLEX", "LN": "LN", "I10C": "ICD10CM", "I10": "ICD10", "I9C": "ICD9CM",
}  # fmt: skip
_RETIRED = ("SRT", "SNM3", "99SDM")  # SNOMED RT codes, which PS3.16 Annex O maps to SNOMED CT

# Defined terms of View Position (PS3.3 C.8.4.1, C.8.11.7) in one spelling; SNOMED CT codes that say the same.
_VIEWS = {
    "AP": "AP", "PA": "PA", "LL": "LL", "RL": "RL", "LLD": "LLD", "RLD": "RLD", "RLO": "RLO", "LLO": "LLO",
    "LATERAL": "LATERAL", "LAT": "LATERAL", "POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP", "CC": "CC", "MLO": "MLO",
    "ML": "ML", "LM": "LM", "LMO": "LMO", "XCCL": "XCCL", "XCCM": "XCCM", "FB": "FB", "SIO": "SIO", "ISO": "ISO",
}  # fmt: skip
_VIEW_CODES = {
    "399348003": "AP", "272479007": "PA", "399067008": "LATERAL", "399198007": "RL", "399162004": "CC",
    "399368009": "MLO", "399260004": "ML", "399352003": "LM", "399099002": "LMO", "399101009": "XCCM",
}  # fmt: skip
_SIDES = {"L": "L", "R": "R", "B": "B", "U": "U", "LEFT": "L", "RIGHT": "R", "BOTH": "B"}


def read_facts(dataset: "Dataset") -> Facts:
    """The attributes of :data:`KEYWORDS` that a dataset has, as JSON."""
    facts: Facts = {}
    for name, keyword in _TEXTS.items():
        value = dataset.get(keyword)
        if value not in (None, "", []):
            facts[name] = str(value).strip()
    for place in (dataset, *_frame_anatomy(dataset)):
        for name, keyword in _CODES.items():
            found = [_code(item) for item in place.get(keyword) or ()]
            if any(found):
                facts[name] = [code for code in found if code]
        if place is not dataset and place.get("FrameLaterality"):
            facts["laterality"] = str(place.FrameLaterality)
    return facts


def _frame_anatomy(dataset: "Dataset") -> Iterable["Dataset"]:
    """Enhanced multi-frame objects say the region for all frames in a functional group (PS3.3 C.7.6.16.2.8)."""
    for group in dataset.get("SharedFunctionalGroupsSequence") or ():
        yield from group.get("FrameAnatomySequence") or ()


def _code(item: "Dataset") -> dict[str, str]:
    values = {
        "scheme": item.get("CodingSchemeDesignator"),
        "value": item.get("CodeValue") or item.get("LongCodeValue"),
        "meaning": item.get("CodeMeaning"),
    }
    return {name: str(value).strip() for name, value in values.items() if value not in (None, "")}


def facts_of_folder(folder: Path, refused: Counter[str]) -> dict[str, Facts]:
    """Facts by SHA-256 of the file, for every DICOM file below a folder: the hash that a sample keeps of its images.

    Args:
        refused: gains a count for each file that is not read, by reason.
    """
    found: dict[str, Facts] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        facts = facts_of_file(path, refused)
        if facts:
            with path.open("rb") as file:
                found[hashlib.file_digest(file, "sha256").hexdigest()] = facts
    return found


def facts_of_file(path: Path, refused: Counter[str]) -> Facts:
    """Facts of one file, {} and a count in ``refused`` where it has none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            refused["not a DICOM file"] += 1
            return {}
    try:
        if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
            refused["deflated file: its header is not read"] += 1  # pydicom inflates it without a limit
            return {}
        facts = read_facts(dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS)))
    except (InvalidDicomError, ValueError, TypeError, KeyError, AttributeError, EOFError, NotImplementedError):
        refused["header cannot be read"] += 1
        return {}
    if not facts:
        refused["header has none of the attributes that are read"] += 1
    return facts


@dataclass(frozen=True)
class HeaderTags:
    """What a header says: entities, view ("" where unknown), side (L, R, B, U or ""), and what was not understood."""

    tags: list[Tag]
    view: str = ""
    side: str = ""
    unmapped: Counter[str] = field(default_factory=Counter)


class HeaderTagger:
    """Facts of a header to entities of a tree.

    Args:
        tree: built tree; its cross-references are the map of codes.
        tagger: over the same tree, for words.
    """

    def __init__(self, tree: Tree, tagger: Tagger):
        self.tree, self.tagger = tree, tagger
        self._parts = {term: self._named_parts(names) for term, names in _body_parts().items()}
        self._snomed = _retired_codes()

    def __call__(self, facts: Facts) -> HeaderTags:
        unmapped: Counter[str] = Counter()
        tags = [*self._modality(facts, unmapped), *self._body_part(facts, unmapped)]
        for name in ("regions", "structures"):
            for code in facts.get(name, ()):
                tags += self._coded(code, _CODES[name], {"anatomy"}, unmapped)
        for name in ("procedures", "requested"):
            for code in facts.get(name, ()):
                tags += self._coded(code, _CODES[name], {"anatomy", "procedure"}, unmapped)
        return HeaderTags(sorted(set(tags)), self._view(facts, unmapped), _side(facts, unmapped), unmapped)

    def _modality(self, facts: Facts, unmapped: Counter[str]) -> Iterable[Tag]:
        modality = facts.get("modality", "").upper()
        if modality and f"DCM:{modality}" in self.tree:
            yield Tag(self.tree[f"DCM:{modality}"].id, "header", "present", f"Modality {modality}")
        elif modality:
            unmapped[f"Modality {modality}"] += 1

    def _body_part(self, facts: Facts, unmapped: Counter[str]) -> Iterable[Tag]:
        said = facts.get("body_part", "")
        if not said:
            return
        term = "".join(said.upper().split())
        found = self._parts.get(term) or self._words(said, {"anatomy"})
        if not found:
            unmapped[f"BodyPartExamined {said.upper()}"] += 1
        for entity in found:
            yield Tag(entity, "header", "present", f"BodyPartExamined {said}")

    def _coded(self, code: Mapping[str, str], attribute: str, roots: set[str], unmapped: Counter[str]) -> Iterable[Tag]:
        scheme, value, meaning = (code.get(name, "") for name in ("scheme", "value", "meaning"))
        by_code = [e for e in self.tree.by_code.get(self._curie(scheme, value), ()) if self.tree[e].root in roots]
        if len(by_code) == 1:
            yield Tag(by_code[0], "header", "present", f"{attribute} {scheme}:{value}")
            return
        named = self._words(meaning, roots)
        if not named:
            unmapped[f"{attribute} {scheme}:{value} {meaning}".strip()] += 1
        for entity in named:
            yield Tag(entity, "header", "present", f"{attribute} {meaning}")

    def _curie(self, scheme: str, value: str) -> str:
        if scheme in _RETIRED:
            value = self._snomed.get(value, value)
        return f"{_SCHEMES.get(scheme, scheme)}:{value}"

    def _view(self, facts: Facts, unmapped: Counter[str]) -> str:
        said = facts.get("view_position", "").upper()
        if said in _VIEWS:
            return _VIEWS[said]
        if said:
            unmapped[f"ViewPosition {said}"] += 1
        for code in facts.get("views", ()):
            known = _VIEW_CODES.get(self._curie(code.get("scheme", ""), code.get("value", "")).partition(":")[2])
            if known:
                return known
            unmapped[f"ViewCodeSequence {code.get('scheme', '')}:{code.get('value', '')}"] += 1
        return ""

    def _words(self, text: str, roots: set[str]) -> list[str]:
        """Entities that words of a header name, whole names first; of ``roots`` only."""
        whole = [e for e in self.tree.names.get(name_key(text), ()) if self.tree[e].root in roots] if text else []
        if whole:
            return whole[:1]
        spaced = text.replace("_", " ").replace("^", " ")
        found = {e for _, _, e in self.tagger.find(spaced.lower()) if self.tree[e].root in roots}
        if "procedure" in roots:  # names of procedures begin with what the tagger takes for ambiguous: "CT chest"
            codes = (f"DCM:{MODALITIES[word]}" for word in spaced.upper().split() if word in MODALITIES)
            found |= {self.tree[code].id for code in codes if code in self.tree}
        return sorted(found)

    def _named_parts(self, names: list[str]) -> list[str]:
        return [entity for name in names for entity in self._words(name, {"anatomy"})[:1]]


def _side(facts: Facts, unmapped: Counter[str]) -> str:
    said = (facts.get("laterality") or facts.get("side") or "").upper()
    if said and said not in _SIDES:
        unmapped[f"Laterality {said}"] += 1
    return _SIDES.get(said, "")


def _body_parts() -> dict[str, list[str]]:
    rows = (files("pretrain.tagging") / "body_parts.tsv").read_text("utf-8").splitlines()
    made = {}
    for term, names in csv.reader((row for row in rows if row and not row.startswith("#")), delimiter="\t"):
        made[term] = [name.strip() for name in names.split(";")]
    return made


def _retired_codes() -> dict[str, str]:
    """SNOMED RT code -> SNOMED CT concept, from pydicom's copy of PS3.16 Annex O."""
    from pydicom.sr._snomed_dict import mapping

    return dict(mapping["SRT"])
