"""What is kept, and how it is recorded in the files (PS3.15 Annex E, PS3.16 CID 7050)."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pretrain.deidentify.errors import SettingsError


class Dates(StrEnum):
    """``shift`` is option 113107, ``remove`` the basic profile, ``keep`` option 113106."""

    shift = "shift"
    remove = "remove"
    keep = "keep"


class DateOrder(StrEnum):
    """How 3/5/2021 is read where both readings are possible."""

    mdy = "mdy"
    dmy = "dmy"


# Code value and meaning of each option, CID 7050.
METHODS = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "clean_pixels": ("113101", "Clean Pixel Data Option"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
    "clean_structured": ("113104", "Clean Structured Content Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "keep_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "shift_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "keep_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "keep_device": ("113109", "Retain Device Identity Option"),
    "keep_uids": ("113110", "Retain UIDs Option"),
    "keep_safe_private": ("113111", "Retain Safe Private Option"),
    "keep_institution": ("113112", "Retain Institution Identity Option"),
}


@dataclass(frozen=True)
class Options:
    """Choices of a run. The default keeps the least that training needs.

    Attributes:
        dates: shifted by one number of days a patient, removed, or kept. Times of day go with them: they are kept
            unless dates are removed.
        shift_birth_date: shift the birth date with the others; else it is emptied. Of patients over 89 it is always
            emptied.
        keep_patient_characteristics: sex, age (over 89 becomes 90), size, weight, pregnancy, smoking, ethnic group.
            SUV needs the weight.
        keep_device: serial numbers, station and detector names, device UIDs.
        keep_institution: institution name, address, department.
        keep_uids: UIDs as they are.
        keep_safe_private: numbers of private elements known to hold none but numbers (see ``profile.SAFE_PRIVATE``).
        clean_descriptors: keep the words of descriptions that are in the clinical vocabulary; else remove them.
        clean_pixels: look for burned-in text and remove it. Without it a file whose header says YES to burned-in
            annotation is refused, and option 113101 is not claimed.
        skip_ocr: modalities whose pixels are not looked at, with the same consequences.
        keep_markers: leave laterality markers (a lone L, R, LT, RT, LEFT or RIGHT) in the pixels.
        date_order: see :class:`DateOrder`; for report texts.
    """

    dates: Dates = Dates.shift
    shift_birth_date: bool = False
    keep_patient_characteristics: bool = False
    keep_device: bool = False
    keep_institution: bool = False
    keep_uids: bool = False
    keep_safe_private: bool = False
    clean_descriptors: bool = True
    clean_pixels: bool = True
    skip_ocr: tuple[str, ...] = ()
    keep_markers: bool = False
    date_order: DateOrder = DateOrder.mdy

    def __post_init__(self):
        object.__setattr__(self, "dates", Dates(self.dates))
        object.__setattr__(self, "date_order", DateOrder(self.date_order))
        if self.shift_birth_date and self.dates is not Dates.shift:
            raise SettingsError("the birth date can be shifted only where all dates are: leave out --dates")
        object.__setattr__(self, "skip_ocr", tuple(sorted({m.strip().upper() for m in self.skip_ocr if m.strip()})))

    def looks_at(self, modality: str) -> bool:
        """True where the pixels of this modality are searched for text."""
        return self.clean_pixels and modality not in self.skip_ocr

    def methods(self, *, pixels: bool, structured: bool) -> list[tuple[str, str]]:
        """Codes for Deidentification Method Code Sequence (0012,0064).

        Args:
            pixels: this file's pixels were searched and found free of text.
            structured: this file's content tree was cleaned.
        """
        names = ["basic", "clean_graphics"]
        names += ["clean_pixels"] if pixels else []
        names += ["clean_structured"] if structured else []
        names += ["clean_descriptors"] if self.clean_descriptors else []
        names += {Dates.shift: ["shift_dates"], Dates.keep: ["keep_dates"], Dates.remove: []}[self.dates]
        names += [name for name in METHODS if name.startswith("keep_") and getattr(self, name, False)]
        return sorted(METHODS[name] for name in names)

    def as_settings(self) -> dict[str, Any]:
        """As plain JSON, for the journal and the manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
