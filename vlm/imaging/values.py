"""Attribute values of a DICOM header as plain numbers, and the functional groups of enhanced multi-frame objects."""

import math
from typing import Any

from pydicom.dataset import Dataset

_TERMS = """
    AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT
    IVUS KER KO LEN LS MA MG MR MS M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG
    RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN
    TEXTUREMAP TG US VA XA XAPROTOCOL XC AS CD CF CP CS DD DF DM DS EC FA FS LP MPR ST TH VF
"""
MODALITIES = frozenset(_TERMS.split())


def get(ds: Dataset, keyword: str) -> Any:
    """An element that the image can do without: None where it is missing or does not parse."""
    try:
        return ds.get(keyword)
    except (ValueError, TypeError, OverflowError, KeyError, AttributeError, NotImplementedError):
        return None


def number(value: Any) -> float | None:
    """First value as a finite float, else None."""
    try:
        if isinstance(value, (list, tuple)) or hasattr(value, "append"):
            value = value[0]
        result = float(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def numbers(value: Any) -> tuple[float, ...]:
    """All values as finite floats; empty where one is not."""
    if value is None:
        return ()
    parts = list(value) if hasattr(value, "append") or isinstance(value, (list, tuple)) else [value]
    found = [number(part) for part in parts]
    return () if any(part is None for part in found) else tuple(part for part in found if part is not None)


def word(value: Any) -> str:
    """A code string as text, "" where missing or multi-valued."""
    return value.strip() if isinstance(value, str) else ""


def uid(value: Any) -> str | None:
    """A UID of legal form, else None: a person's name in a UID element does not travel on."""
    text = str(value or "").strip()
    return text if 0 < len(text) <= 64 and all(c.isdigit() or c == "." for c in text) else None


def modality(ds: Dataset) -> str | None:
    """A defined term of PS3.3 C.7.3.1.1.1, else None."""
    text = word(ds.get("Modality"))
    return text if text in MODALITIES else None


def group(ds: Dataset, keyword: str, frame: int) -> Dataset:
    """A functional group of a frame: per frame before shared, the data set itself for classic objects.

    Args:
        keyword: for example "PixelMeasuresSequence".
        frame: from 0.
    """
    per_frame = ds.get("PerFrameFunctionalGroupsSequence")
    shared = ds.get("SharedFunctionalGroupsSequence")
    if per_frame is not None and frame < len(per_frame):
        found = _first(per_frame[frame].get(keyword))
        if found is not None:
            return found
    if shared:
        found = _first(shared[0].get(keyword))
        if found is not None:
            return found
    return Dataset() if per_frame is not None else ds


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence is not None and len(sequence) else None
