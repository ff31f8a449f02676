"""De-identification measured: what burned-in text is found, what else is blanked, seconds and memory, on one core.

    python perf/deidentify.py            # 4 to 6 minutes of a core
    python perf/deidentify.py --quick    # 1 minute: fewer pictures, no large film
    python perf/deidentify.py --only run # one part: text, clean or run

"text" writes a line (a name or a number) into pictures that hold none, changes one thing at a time, and counts a line
as found where 97 of 100 of its pixels no longer have the value they were written with. Pictures: a real CT and a real
MR slice of pydicom-data, and a simulated chest film of this project. A line stands where a person can tell it from what
is below it: the share in "contrast" is its distance from the median below it, of the picture's range. "clean" runs the
same over pictures without text but for the film's L, which is left (``keep_markers``): every blanked piece is a false
one. "run" is whole folders by the command's own code. Seconds are CPU seconds of this process and its children, so that
they are the same on a busy machine.
"""

import argparse
import os
import resource
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file

from pretrain.deidentify.errors import RefusedError
from pretrain.deidentify.ocr import RapidFinder
from pretrain.deidentify.options import Options
from pretrain.deidentify.pixels import CleanedPixels, clean_pixels
from pretrain.deidentify.run import Request, deidentify
from pretrain.deidentify.stored import Stored
from pretrain.sources.chest import generate_case
from pretrain.sources.chest.dicom_writer import encode

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
LINES = ("SMITHSON JOHN", "ID 0079241539")


@dataclass(frozen=True)
class Writing:
    """How a line is written: letters of ``height`` pixels, ``contrast`` of the range, ``turn`` in degrees."""

    name: str = "16 pixels, opaque, upright, inside"
    height: int = 16
    contrast: float = 1.0
    turn: float = 0.0
    mirrored: bool = False
    at: str = "inside"
    frames: int = 1


BASE = Writing()
WRITINGS = (
    BASE,
    *(replace(BASE, name=f"height {h} pixels", height=h) for h in (8, 10, 12, 24, 40, 80)),
    *(replace(BASE, name=f"contrast {c:.0%}", contrast=c) for c in (0.4, 0.2, 0.1, 0.05)),
    *(replace(BASE, name=f"turned {t:g} degrees", turn=t) for t in (5, 20, 45, 90, 180, 270)),
    replace(BASE, name="mirrored", mirrored=True),
    replace(BASE, name="black on bright", at="bright"),
    replace(BASE, name="touching the border", at="border"),
    replace(BASE, name="upper half cut off by the border", at="cut"),
    replace(BASE, name="10 pixels, contrast 20%", height=10, contrast=0.2),
    replace(BASE, name="frame 11 of 24 alone", frames=24),
    replace(BASE, name="frame 11 of 24 alone, contrast 20%", frames=24, contrast=0.2),
)


def real(name: str) -> np.ndarray:
    path = get_testdata_file(name, download=False)
    if not path:
        raise SystemExit(f"{name} is in pydicom-data: pip install pydicom-data")
    return pydicom.dcmread(str(path)).pixel_array


def pictures(quick: bool) -> dict[str, np.ndarray]:
    """(H, W) integers without text, by name."""
    found = {"MR": real("MR2_UNCR.dcm")[256:768, 256:768], "film": generate_case(11, 0, size=512).images[0]}
    return found if quick else {"CT head": real("693_UNCI.dcm")[:384, 64:448], **found}


def letters(text: str, writing: Writing) -> np.ndarray:
    """(H, W) bool: where ink is."""
    font = ImageFont.truetype(str(FONT), writing.height)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2), 0)
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, 255, font=font)
    ink = np.asarray(image.rotate(writing.turn, expand=True)) > 100
    return ink[:, ::-1] if writing.mirrored else ink


def place(frame: np.ndarray, ink: np.ndarray, writing: Writing, rng: np.random.Generator) -> tuple[int, int] | None:
    """Row and column where the line can be told from what is below; None where it does not fit anywhere."""
    room = [frame.shape[i] - ink.shape[i] - 4 for i in (0, 1)]
    if min(room) < 1:
        return None
    span = float(frame.max()) - float(frame.min())
    best = None
    for _ in range(200):
        at = (int(rng.integers(2, room[0] + 2)), int(rng.integers(2, room[1] + 2)))
        if writing.at in ("border", "cut"):
            at = (0, at[1])
        under = frame[at[0] : at[0] + ink.shape[0], at[1] : at[1] + ink.shape[1]].astype(float)
        rough = float(np.subtract(*np.percentile(under, (95, 5)))) / span
        level = (float(np.median(under)) - float(frame.min())) / span
        fits = level > 0.5 if writing.at == "bright" else level < 0.6
        if fits and (best is None or rough < best[0]):
            best = (rough, at)
        if best and best[0] < 0.3 * writing.contrast:
            break
    return best[1] if best and best[0] < 0.6 * writing.contrast else None


def written(frame: np.ndarray, text: str, writing: Writing, rng: np.random.Generator):
    """Frames with the line, where it is, and its value; None where there is no room for it."""
    ink = letters(text, writing)
    at = place(frame, ink, writing, rng)
    if at is None:
        return None
    ink = ink[ink.shape[0] // 2 :] if writing.at == "cut" else ink
    where = np.zeros(frame.shape, bool)
    where[at[0] : at[0] + ink.shape[0], at[1] : at[1] + ink.shape[1]] = ink
    low, high = int(frame.min()), int(frame.max())
    sign = -1 if writing.at == "bright" else 1
    value = int(np.clip(np.median(frame[where]) + sign * writing.contrast * (high - low), low, high))
    value = max(value, low + (high - low) // 100)  # not what blanking writes, or it could not be told from it
    frames = np.stack([np.roll(frame, 3 * i, axis=1) for i in range(writing.frames)])
    frames[writing.frames // 2 - (writing.frames > 1)][where] = value
    return frames, where, value


def outcome(frames: np.ndarray, where: np.ndarray, value: int, finder: RapidFinder) -> str:
    """ "found", "left", or "refused" where the picture would not be written."""
    try:
        cleaned = clean_pixels(Stored(frames.copy(), 16, "MONOCHROME2"), pydicom.Dataset(), finder).stored.frames
    except RefusedError:
        return "refused"
    gone = (cleaned[len(frames) // 2 - (len(frames) > 1)][where] != value).mean() > 0.97
    return "found" if gone else "left"


def measure_text(finder: RapidFinder, quick: bool) -> None:
    print("| writing | lines | found | refused | left |\n|---|---|---|---|---|")
    rng = np.random.default_rng(7)
    for writing in WRITINGS[::4] if quick else WRITINGS:
        seen: Counter[str] = Counter()
        for number, frame in enumerate(pictures(quick).values()):
            if writing.frames > 1 and number > 1:
                continue
            made = written(frame, LINES[number % 2], writing, rng)
            if made is not None:
                seen[outcome(*made, finder)] += 1
        print(f"| {writing.name} | {seen.total()} | {seen['found']} | {seen['refused']} | {seen['left']} |", flush=True)


def clean_pictures(quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    names = ("693_UNCI.dcm", "MR2_UNCR.dcm", "CT_small.dcm", "MR_small.dcm", "emri_small.dcm")
    for name in names[: 2 if quick else 5]:
        frames = real(name)
        yield f"real {name}", frames if frames.ndim == 3 else frames[None]
    for k in range(2 if quick else 8):
        yield "simulated film, 512 pixels", generate_case(23, k, size=512).images[0][None]
    if not quick:
        yield "simulated film, 2048 pixels", generate_case(23, 1, size=2048).images[0][None]


def cpu_seconds() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def measure_clean(finder: RapidFinder, quick: bool) -> None:
    rows: dict[str, list[tuple[int, float, float]]] = {}
    for name, frames in clean_pictures(quick):
        start = cpu_seconds()
        stored = Stored(frames.copy(), 16, "MONOCHROME2")
        try:
            cleaned = clean_pixels(stored, pydicom.Dataset(), finder, keep_markers=True)
        except RefusedError:
            cleaned = CleanedPixels(stored, 1, 1.0)
        rows.setdefault(name, []).append((cleaned.boxes, cleaned.blanked, cpu_seconds() - start))
    print(
        "| picture without text | pictures | with a false piece | area blanked | seconds each |\n|---|---|---|---|---|"
    )
    for name, seen in rows.items():
        boxes, blanked, seconds = zip(*seen)
        print(
            f"| {name} | {len(seen)} | {sum(b > 0 for b in boxes)} | {statistics.mean(blanked):.2%} "
            f"| {statistics.median(seconds):.1f} |",
            flush=True,
        )


def measure_run(quick: bool) -> None:
    print("| run | files | seconds | files/s | peak memory, MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for ocr, patients, size in (
            (False, 20, 256),
            (False, 20 if quick else 60, 1024),
            (True, 3 if quick else 8, 512),
        ):
            source = Path(folder, f"raw-{ocr}-{size}")
            for k in range(patients):
                case = generate_case(31, k, size=size)
                place = source / f"p{k}"
                place.mkdir(parents=True)
                (place / "1.dcm").write_bytes(encode(case, 0))
                (place / "1.txt").write_text("Clear lungs. 5 mm nodule. Dictated by: Nadine Scribequist, MD.\n")
            start = cpu_seconds()
            out = Path(folder, f"out-{ocr}-{size}")
            report = deidentify(Request(source, out, Path(folder, "k"), Options(clean_pixels=ocr)))
            seconds = cpu_seconds() - start
            files = sum(report.written.values())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            what = f"films of {size} pixels and a report each, {'with' if ocr else 'without'} the search for text"
            print(f"| {what} | {files} | {seconds:.1f} | {files / seconds:.1f} | {peak} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures")
    parser.add_argument("--only", choices=("text", "clean", "run"), help="one part")
    given = parser.parse_args()
    with_sched = getattr(os, "sched_setaffinity", None)
    if with_sched is not None:
        with_sched(0, {min(os.sched_getaffinity(0))})
    import cv2

    cv2.setNumThreads(1)
    finder = RapidFinder()
    if given.only in (None, "text"):
        measure_text(finder, given.quick)
    if given.only in (None, "clean"):
        measure_clean(finder, given.quick)
    if given.only in (None, "run"):
        measure_run(given.quick)


if __name__ == "__main__":
    main()
