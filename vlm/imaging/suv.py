"""SUVbw of PET: the factor from stored activity to body-weight standardised uptake, by vendor.

Follows the QIBA FDG-PET/CT pseudo-code (https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV)) and the
IBSI note (https://oncoray.github.io/suv_computation). What the file does not say is never guessed: it is refused.
"""

import math
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from vlm.imaging.errors import SuvError
from vlm.imaging.values import number, word

_ADVICE = "read it with pet_units='file' to get the activity as it is"


def suv_factor(ds: Dataset) -> float:
    """Factor from rescaled pixel values to SUVbw (g/ml).

    Raises:
        SuvError: weight, dose, half-life, a time or a correction is missing or impossible, or the units are unknown.
    """
    units = word(ds.get("Units"))
    if units == "GML":
        if word(ds.get("SUVType")) not in ("", "BW"):
            raise _refuse("suv_type", "the PET values are an SUV of another kind than body weight")
        return 1.0
    if units == "CNTS":
        creator = word(ds.get(0x70530010) and ds[0x70530010].value)
        if creator == "Philips PET Private Group":
            factor = _private(ds, 0x70531000)
            if factor:
                return factor
            activity = _private(ds, 0x70531009)
            if activity:
                return activity * _from_activity(ds)
        raise _refuse(
            "suv_counts", "the PET values are counts and the file has no Philips factor to turn them into SUV"
        )
    if units == "BQML":
        return _from_activity(ds)
    raise _refuse("suv_units", "the PET units are missing or not BQML, CNTS or GML")


def _from_activity(ds: Dataset) -> float:
    corrections = ds.get("CorrectedImage") or ()
    corrections = {corrections} if isinstance(corrections, str) else set(corrections)
    if not {"ATTN", "DECY"} <= corrections:
        raise _refuse("suv_corrections", "the PET image is not corrected for attenuation and decay")
    weight = number(ds.get("PatientWeight"))
    if weight is None or not 0.2 <= weight <= 700:
        raise _refuse("suv_weight", "the patient's weight is missing or impossible")
    sequence = ds.get("RadiopharmaceuticalInformationSequence")
    if sequence is None or not len(sequence):
        raise _refuse("suv_radiopharmaceutical", "the radiopharmaceutical information is missing")
    drug = sequence[0]
    dose = number(drug.get("RadionuclideTotalDose"))
    if dose is None or dose <= 0:
        raise _refuse("suv_dose", "the injected dose is missing or zero")
    correction = word(ds.get("DecayCorrection"))
    if correction == "ADMIN":
        return weight * 1000.0 / dose
    if correction != "START":
        raise _refuse("suv_decay", "the decay correction is missing or NONE")
    half_life = number(drug.get("RadionuclideHalfLife"))
    if half_life is None or half_life <= 0:
        raise _refuse("suv_half_life", "the half-life is missing or zero")
    scan = scan_start(ds, half_life)
    elapsed = (scan - _injection(drug, scan)).total_seconds()
    if not 0 <= elapsed <= 86_400:
        raise _refuse("suv_times", "the injection is not within the 24 hours before the scan")
    return weight * 1000.0 / (dose * 2.0 ** (-elapsed / half_life))


def scan_start(ds: Dataset, half_life_s: float) -> datetime:
    """The moment that decay was corrected to.

    Series time, unless post-processing has rewritten it (then it is later than the acquisition): GE's private scan
    time, else the acquisition time taken back by the frame reference time.

    Raises:
        SuvError: no time can be established.
    """
    series = _moment(ds.get("SeriesDate"), ds.get("SeriesTime"))
    acquisition = _moment(ds.get("AcquisitionDate") or ds.get("SeriesDate"), ds.get("AcquisitionTime"))
    if acquisition is None:
        raise _refuse("suv_times", "the acquisition time is missing")
    if series is not None and series <= acquisition:
        return series
    if word(ds.get(0x00090010) and ds[0x00090010].value) == "GEMS_PETD_01":
        private = ds.get(0x0009100D)
        moment = _datetime(private.value if private is not None else None)
        if moment is not None:
            return moment
    reference, duration = number(ds.get("FrameReferenceTime")), number(ds.get("ActualFrameDuration"))
    if reference is None or not duration or duration <= 0:
        raise _refuse("suv_times", "the series time was rewritten and nothing else gives the scan's start")
    decay = math.log(2) / half_life_s
    during = decay * duration / 1000.0
    average = math.log(during / -math.expm1(-during)) / decay
    return acquisition + timedelta(seconds=average - reference / 1000.0)


def _injection(drug: Dataset, scan: datetime) -> datetime:
    moment = _datetime(drug.get("RadiopharmaceuticalStartDateTime"))
    if moment is not None:
        return moment
    moment = _moment(f"{scan:%Y%m%d}", drug.get("RadiopharmaceuticalStartTime"))
    if moment is None:
        raise _refuse("suv_times", "the injection time is missing")
    return moment - timedelta(days=1) if moment > scan else moment  # injected before midnight


def _moment(date: object, time: object) -> datetime | None:
    if not date or not time:
        return None
    return _datetime(f"{date}{str(time).replace(':', '')}")


def _datetime(value: object) -> datetime | None:
    """DT of PS3.5 6.2 to local time; a UTC offset is dropped, because the other times of the file have none."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    text = str(value or "").strip("\0 ").split("+")[0].split("-")[0]
    whole, _, fraction = text.partition(".")
    try:
        moment = datetime.strptime(whole.ljust(14, "0"), "%Y%m%d%H%M%S") if len(whole) >= 10 else None
        return moment and moment + timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError:
        return None


def _private(ds: Dataset, tag: int) -> float | None:
    element = ds.get(tag)
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip("\0 ")
    result = number(value)
    return result if result and result > 0 else None


def _refuse(code: str, reason: str) -> SuvError:
    return SuvError(code, f"no SUV: {reason}; {_ADVICE}")
