"""What a text claims the study to be (modality, region, side), to be held against the header.

Only sentences that speak of the study at hand count: its beginning, its exam and technique lines, and phrases such as
"this CT shows". A report of a radiograph that recommends a CT, or compares with one, claims none.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_MODALITY = {
    "radiography": r"radiographs?|x-?rays?|plain films?|films?|cxr|radiography",
    "ct": r"ct|computed tomograph(?:y|ic)|cta|hrct",
    "mr": r"mri?|magnetic resonance|mra|mrcp",
    "us": r"ultrasound|ultrasonograph(?:y|ic)|sonogra(?:m|phy|phic)|echocardiogra(?:m|phy)",
    "mammography": r"mammogra(?:m|phy|ms)",
    "nuclear": r"pet|positron emission|scintigra(?:m|phy)|spect",
}
# Modality of a header (PS3.3 C.7.3.1.1.1) to the words above; PET and its CT go together.
_OF_HEADER = {
    "CR": {"radiography"}, "DX": {"radiography"}, "RG": {"radiography"}, "CT": {"ct", "nuclear"}, "MR": {"mr"},
    "US": {"us"}, "MG": {"mammography", "radiography"}, "PT": {"nuclear", "ct"}, "NM": {"nuclear", "ct"},
}  # fmt: skip
_REGION = {
    "chest": r"chest|thora(?:x|cic)|lungs?|cxr|pulmonary",
    "head": r"head|brain|skull|cranial|intracranial",
    "abdomen": r"abdom(?:en|inal)|liver|kidneys?|renal",
    "pelvis": r"pelvi(?:s|c)|hips?",
    "spine": r"spine|spinal|vertebra(?:l|e)?|lumbar|cervical",
    "neck": r"neck|thyroid",
    "breast": r"breasts?|mammogra(?:m|phy|ms)",
    "arm": r"shoulder|humerus|elbow|forearm|wrist|hands?|manus|finger|arm|carpal",
    "leg": r"knees?|femur|tibia|ankle|foot|feet|pes|leg|toe|tarsal|thigh",
}
_MODALITY_WORDS = {name: re.compile(rf"\b(?:{words})\b", re.I) for name, words in _MODALITY.items()}
_REGION_WORDS = {name: re.compile(rf"\b(?:{words})\b", re.I) for name, words in _REGION.items()}
_ANY = "|".join(_MODALITY.values())
_ELSEWHERE = re.compile(
    r"\b(compar(?:ed|ison)|recommend\w*|suggest\w*|prior|previous\w*|follow-?up|correlat\w*|consider|if clinically"
    r"|further|outside|earlier|advised?|would|could|should)\b",
    re.I,
)
_EXAM_LINE = re.compile(r"^\s*(?:exam(?:ination)?|technique|study|procedure|view)s?\s*:", re.I)
_SHOWS = re.compile(
    rf"\b(?:this|the present|the current|these)\s+(?:\w+\s+){{0,3}}?(?:{_ANY})\b"
    rf"|\b(?:{_ANY})\b(?:\s+\w+){{0,4}}?\s+(?:shows?|demonstrates?|reveals?|displays?)\b",
    re.I,
)
_SENTENCE = re.compile(r"[^.!?\n]+")


@dataclass(frozen=True)
class Claims:
    """Modalities and regions that a text says the study is of, and the sides that it names at all."""

    modalities: frozenset[str]
    regions: frozenset[str]
    sides: frozenset[str]


def claims_of(text: str) -> Claims:
    """What a text claims of the study at hand."""
    speaking = []
    for number, sentence in enumerate(m.group() for m in _SENTENCE.finditer(text)):
        if _ELSEWHERE.search(sentence):
            continue
        opening = number == 0 and re.match(rf"\W*(?:\w+\W+){{0,5}}?(?:{_ANY})\b", sentence, re.I)
        if opening or _EXAM_LINE.match(sentence) or _SHOWS.search(sentence):
            speaking.append(sentence)
    about = "\n".join(speaking)
    sides = {side for side in ("left", "right") if re.search(rf"\b{side}\b", text, re.I)}
    if re.search(r"\b(bilateral|both)\b", text, re.I):
        sides |= {"left", "right"}
    return Claims(
        frozenset(name for name, words in _MODALITY_WORDS.items() if words.search(about)),
        frozenset(name for name, words in _REGION_WORDS.items() if words.search(about)),
        frozenset(sides),
    )


def regions_of_names(names: Iterable[str]) -> set[str]:
    """Regions of the anatomical names that a header gave."""
    return {region for name in names for region, words in _REGION_WORDS.items() if words.search(name)}


def disagreements(text: str, header: Mapping[str, Iterable[str]]) -> list[str]:
    """In which of modality, region and side a text contradicts the header; silence contradicts nothing.

    Args:
        header: ``modalities`` (DICOM codes), ``regions`` (names of anatomy) and ``sides`` (L, R, B, U of each image).
    """
    said = claims_of(text)
    found = []
    codes = [code for code in header.get("modalities", ()) if code in _OF_HEADER]
    known = set().union(*(_OF_HEADER[code] for code in codes))
    if known and said.modalities and not said.modalities & known:
        found.append("modality")
    regions = regions_of_names(header.get("regions", ()))
    if regions and said.regions and not said.regions & regions:
        found.append("body part")
    sides = {side for side in header.get("sides", ()) if side}
    wanted = {"L": "left", "R": "right"}.get(next(iter(sides)), "") if len(sides) == 1 else ""
    if wanted and said.sides and wanted not in said.sides:
        found.append("laterality")
    return found
