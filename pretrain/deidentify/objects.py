"""One DICOM file from bytes to bytes: admitted, header made anew, pixels cleaned, recorded, written, proven."""

import io
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from pretrain.deidentify.dataset import Work, clean_header
from pretrain.deidentify.errors import NotCoveredError, RefusedError, UnreadableError
from pretrain.deidentify.evidence import Identifier, of_container, of_header, of_patient, of_text, without_moved_dates
from pretrain.deidentify.identity import values_of, walk
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.ocr import Finder, RapidFinder
from pretrain.deidentify.options import Dates, Options
from pretrain.deidentify.pixels import CleanedPixels, clean_pixels
from pretrain.deidentify.profile import Profile
from pretrain.deidentify.proof import Proof
from pretrain.deidentify.source import Source, read_source
from pretrain.deidentify.stored import decode, put_pixels
from pretrain.deidentify.text import TextCleaner
from vlm.imaging import Limits
from vlm.imaging.decode import quiet

EXPLICIT_LE = "1.2.840.10008.1.2.1"
# Of this program, made once from a random UUID; it says nothing about the machine or the site.
IMPLEMENTATION_UID = "2.25.169113041852604170519430117258961432873"
IMPLEMENTATION_NAME = "MEDVLM_DEID_1"
_LOSSY = (".4.50", ".4.51", ".4.81", ".4.91", ".4.203")
_HEADS = frozenset("HEAD BRAIN FACE SKULL NECK SINUS ORBIT ORBITS HEADNECK IAC PITUITARY EYE JAW".split())


@dataclass
class Cleaned:
    """A file that may be written.

    Attributes:
        data: its bytes. patient: pseudonym. counts: what was done.
    """

    data: bytes
    patient: str
    counts: Counter = field(default_factory=Counter)


@dataclass
class Context:
    """What all files of a run share; one in each process.

    Attributes:
        cleaner: replaces; finder: finds all kinds, for the proof.
    """

    keys: Keys
    options: Options
    known: Known
    limits: Limits = field(default_factory=lambda: Limits(memory_bytes=8 << 30, timeout_s=120.0))
    profile: Profile | None = None
    cleaner: TextCleaner | None = None
    ocr: Finder | None = None

    @cached_property
    def the_profile(self) -> Profile:
        return self.profile or Profile(self.options)

    @cached_property
    def the_cleaner(self) -> TextCleaner:
        return self.cleaner or TextCleaner(self.keys, self.options, self.known)

    @cached_property
    def finder(self) -> TextCleaner:
        return TextCleaner(self.keys, self.options, self.known)

    @cached_property
    def the_ocr(self) -> Finder:
        return self.ocr or RapidFinder()


def deidentify_object(data: bytes, relative: str, context: Context) -> Cleaned:
    """Clean one DICOM file and prove it.

    Args:
        data: the file. relative: its path in the source, whose words are evidence.

    Raises:
        RefusedError: a subclass with a code; nothing may be written then.
    """
    failure: RefusedError
    with quiet():
        try:
            return _deidentify(data, relative, context)
        except RefusedError as error:
            failure = error
        except (MemoryError, RecursionError) as error:
            failure = UnreadableError("damaged", f"the file asks for too much ({type(error).__name__})")
        except Exception as error:  # pydicom on hostile values; its text may quote them
            failure = UnreadableError("damaged", f"the file is damaged or not conformant ({type(error).__name__})")
    # Raised outside the handler, so that no traceback carries a library's message.
    raise failure


def _deidentify(data: bytes, relative: str, context: Context) -> Cleaned:
    source = read_source(data, context.limits)
    patient = context.known.add(source.ds)
    work = Work(patient, context.the_profile, context.keys, context.the_cleaner)
    work.counts["over 89"] = _is_old(source.ds)
    out = clean_header(source.ds, work)
    pixels = _pixels(source, context) if source.kind == "image" else None
    if pixels is not None:
        put_pixels(out, pixels.stored)
        if pixels.boxes:
            for word in ("SmallestImagePixelValue", "LargestImagePixelValue"):
                out.pop(word, None)
            work.counts["piece of text removed from pixels"] += pixels.boxes
            work.counts["file with burned-in text"] += 1
    if source.parsed.transfer_syntax.endswith(_LOSSY) and source.kind == "image":
        out.LossyImageCompression = "01"
    searched = pixels is not None and pixels.read > 0
    _record(out, source, context.options, searched)
    file = _as_file(out, source, context)
    proven = _written(file)
    _prove(source, patient, relative, proven, out, pixels, context)
    if _may_show_face(source.ds):
        work.counts["may show a face (not removed)"] += 1
    del work.counts["over 89"]
    return Cleaned(proven, context.keys.patient_id(patient.key), +work.counts)


def _is_old(ds: Dataset) -> int:
    age = str(ds.get("PatientAge") or "")
    if age[:3].isdigit() and age.endswith("Y"):
        return int(int(age[:3]) > 89)
    birth, study = str(ds.get("PatientBirthDate") or ""), str(ds.get("StudyDate") or "")
    return int(birth[:4].isdigit() and study[:4].isdigit() and int(study[:4]) - int(birth[:4]) > 89)


def _pixels(source: Source, context: Context) -> CleanedPixels:
    stored = decode(source, context.limits)
    ds, options = source.ds, context.options
    if options.looks_at(str(ds.get("Modality") or "").strip().upper()):
        return clean_pixels(stored, ds, context.the_ocr, keep_markers=options.keep_markers)
    if str(ds.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        raise NotCoveredError("burned_in", "the header says that text is burned in, and pixels of it are not searched")
    return CleanedPixels(stored)


def _record(out: Dataset, source: Source, options: Options, searched: bool) -> None:
    """Say in the file what was done (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.7.6.1)."""
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = ["medvlm rules on PS3.15 E.1-1 2026c"]
    earlier = _earlier_methods(source.ds)
    codes = dict(options.methods(pixels=searched, structured=source.kind == "report"))
    items = []
    for value, meaning in sorted({**earlier, **codes}.items()):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    out.DeidentificationMethodCodeSequence = Sequence(items)
    out.LongitudinalTemporalInformationModified = {
        Dates.shift: "MODIFIED",
        Dates.remove: "REMOVED",
        Dates.keep: "UNMODIFIED",
    }[options.dates]
    if searched:
        out.BurnedInAnnotation = "NO"
    if _is_unicode(out):
        out.SpecificCharacterSet = "ISO_IR 192"


def _earlier_methods(ds: Dataset) -> dict[str, str]:
    """Codes of an earlier de-identification: they stay true, retention apart, which is this run's to say."""
    from pretrain.deidentify.options import METHODS

    cleaning = {code: meaning for name, (code, meaning) in METHODS.items() if not name.startswith("keep_")}
    items = ds.get("DeidentificationMethodCodeSequence") or ()
    values = {str(item.get("CodeValue") or "") for item in items if str(item.get("CodingSchemeDesignator")) == "DCM"}
    values -= {METHODS["clean_pixels"][0], METHODS["shift_dates"][0]}
    return {value: cleaning[value] for value in values if value in cleaning}


def _is_unicode(out: Dataset) -> bool:
    return any(not value.isascii() for element, _item, _private in walk(out) for value in values_of(element))


def _as_file(out: Dataset, source: Source, context: Context) -> FileDataset:
    """With a file meta group of our own: nothing of the old one is left, and the UIDs agree."""
    if not out.get("SOPInstanceUID") or not out.get("SOPClassUID"):
        raise UnreadableError("no_instance_uid", "the object has no SOP Instance UID or SOP Class UID")
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = out.SOPClassUID
    meta.MediaStorageSOPInstanceUID = out.SOPInstanceUID
    meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return FileDataset("", out, preamble=b"\0" * 128, file_meta=meta)


def _written(file: FileDataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, file, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _prove(
    source: Source,
    patient: Patient,
    relative: str,
    data: bytes,
    out: Dataset,
    pixels: CleanedPixels | None,
    context: Context,
) -> None:
    """Search the bytes that are to be written for everything that the input says.

    Raises:
        LeakError: something is still there.
    """
    options, finder = context.options, context.finder
    evidence: set[Identifier] = of_header(source.ds, options) | of_patient(patient)
    evidence |= of_container(source.preamble, source.ds.file_meta, relative, options)
    for element, _item, private in walk(source.ds):
        if element.keyword == "TextValue" and not private:
            evidence |= of_text(str(element.value or ""), patient, finder)
    evidence = {i for i in evidence if not (i.kind == "uid" and i.value == IMPLEMENTATION_UID)}
    proof = Proof(without_moved_dates(evidence, patient, context.keys))
    at = len(data) if pixels is None else len(data) - len(out.PixelData)
    proof.raw(data[:at], "header")
    proof.values(out)
    if pixels is not None:
        proof.pixels(data[at:])
    for element, _item, _private in walk(out):
        if element.keyword == "TextValue" and any(s.kind == "age" for s in finder.find(str(element.value), patient)):
            proof.found["age", "content item"] += 1
    proof.conclude()


def _may_show_face(ds: Dataset) -> bool:
    part = str(ds.get("BodyPartExamined") or "").upper().replace(" ", "")
    return str(ds.get("Modality") or "") in ("CT", "MR", "PT") and part in _HEADS
