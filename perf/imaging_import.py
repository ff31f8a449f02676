"""DICOM import, files per second on one core: medvlm against plain pydicom and MONAI, on mixed transfer syntaxes.

    python perf/imaging_import.py            # 5 interleaved rounds
    python perf/imaging_import.py --quick    # 1 round of small files
    python perf/imaging_import.py --cpu      # CPU seconds of parent and child instead of wall time: for a busy machine

All arms run on the same single core (the parent and the decoding child of medvlm share it). "medvlm" is
``read_images(paths, workers=1)``: sandboxed child, SHA-256 of the file, padding mask, windows, provenance; "in-process"
is the same without the child. Plain pydicom is ``dcmread(path).pixel_array`` and ``apply_modality_lut``, with the
decoder that pydicom picks. MONAI is ``LoadImage(reader=PydicomReader)``. The files are real ones of pydicom-data and
the same pictures transcoded here; all have one frame.
"""

import argparse
import io
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut

PICTURES = {"CR": "RG1_UNCR.dcm", "CT": "693_UNCR.dcm", "MR": "MR2_UNCR.dcm", "US": "US1_UNCR.dcm"}
UNCOMPRESSED = "1.2.840.10008.1.2.1"
SYNTAXES = {
    "uncompressed": UNCOMPRESSED,
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}


def transcode(ds: pydicom.Dataset, syntax: str) -> bytes | None:
    """One frame of ``ds`` compressed, None where there is no encoder for such a picture."""
    import imagecodecs

    array = ds.pixel_array
    colour = array.ndim == 3
    if syntax == SYNTAXES["JPEG baseline"] and array.dtype == np.uint8:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()
    if syntax == SYNTAXES["JPEG lossless"] and not colour:
        return imagecodecs.ljpeg_encode(array.view(f"u{array.itemsize}"), bitspersample=array.itemsize * 8)
    if syntax == SYNTAXES["HTJ2K"] and not colour:
        return imagecodecs.htj2k_encode(array, reversible=True)
    return None


def corpus(folder: Path, quick: bool) -> dict[str, list[Path]]:
    """The files of each syntax."""
    found: dict[str, list[Path]] = {name: [] for name in SYNTAXES}
    for picture, name in PICTURES.items():
        if quick and picture == "CR":
            continue
        for label, syntax in SYNTAXES.items():
            ds = pydicom.dcmread(str(get_testdata_file(name)))
            target = folder / f"{picture}-{label.replace(' ', '_')}.dcm"
            if label in ("RLE", "JPEG-LS", "JPEG 2000"):
                ds.compress(syntax)
            elif label in ("uncompressed", "deflated"):
                ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
            else:
                data = transcode(ds, syntax)
                if data is None:
                    continue
                ds.PixelData = encapsulate([data])
                ds["PixelData"].is_undefined_length = True
                ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
                if label == "JPEG baseline" and ds.SamplesPerPixel == 3:
                    ds.PhotometricInterpretation, ds.PlanarConfiguration = "YBR_FULL_422", 0
            ds.save_as(target, enforce_file_format=True)
            found[label].append(target)
    return {label: paths for label, paths in found.items() if paths}


def arm_medvlm(paths: list[Path]) -> Callable[[], None]:
    from vlm.imaging import ImagingError, Limits
    from vlm.imaging.batch import Batch

    batch = Batch(1, Limits(), 0, "suv", keep=True)  # what read_images runs; the child stays for the next round

    def run() -> None:
        for path, image in batch.run(paths):
            if isinstance(image, ImagingError):
                raise SystemExit(f"{path}: {image}")

    return run


def arm_in_process(paths: list[Path]) -> Callable[[], None]:
    from vlm.imaging import read_image

    def run() -> None:
        for path in paths:
            read_image(path, sandbox=False)

    return run


def arm_pydicom(paths: list[Path]) -> Callable[[], None]:
    def run() -> None:
        for path in paths:
            ds = pydicom.dcmread(path)
            apply_modality_lut(ds.pixel_array, ds)

    return run


def arm_monai(paths: list[Path]) -> Callable[[], None]:
    from monai.data import PydicomReader
    from monai.transforms import LoadImage

    load = LoadImage(reader=PydicomReader(), image_only=True)

    def run() -> None:
        for path in paths:
            load(path)

    return run


ARMS: dict[str, Callable[[list[Path]], Callable[[], None]]] = {
    "medvlm": arm_medvlm,
    "medvlm, in-process": arm_in_process,
    "pydicom": arm_pydicom,
    "MONAI": arm_monai,
}


def cpu_seconds() -> float:
    """CPU time of this process and its living children."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return total


def measure(files: dict[str, list[Path]], rounds: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Median seconds by syntax and arm; arms take turns within each round, in changing order."""
    times: dict[tuple[str, str], list[float]] = {}
    prepared = {(label, arm): make(paths) for label, paths in files.items() for arm, make in ARMS.items()}
    for run in prepared.values():
        run()  # imports, page cache, the child's start
    for turn in range(rounds):
        for label in files:
            order = list(ARMS)[turn % len(ARMS) :] + list(ARMS)[: turn % len(ARMS)]
            for arm in order:
                began = clock()
                prepared[label, arm]()
                times.setdefault((label, arm), []).append(clock() - began)
    return {label: {arm: statistics.median(times[label, arm]) for arm in ARMS} for label in files}


def print_table(files: dict[str, list[Path]], medians: dict[str, dict[str, float]]) -> None:
    counts = {label: len(paths) for label, paths in files.items()}
    print(
        "| syntax (files) | " + " | ".join(f"{arm}, DICOM/s" for arm in ARMS) + " | medvlm / pydicom | medvlm / MONAI |"
    )
    print("|---" * (len(ARMS) + 3) + "|")
    for label, row in medians.items():
        cells = [f"{counts[label] / row[arm]:.1f}" for arm in ARMS]
        ratios = [f"{row[other] / row['medvlm']:.2f}x" for other in ("pydicom", "MONAI")]
        print(f"| {label} ({counts[label]}) | " + " | ".join(cells + ratios) + " |")
    total = {arm: sum(row[arm] for row in medians.values()) for arm in ARMS}
    cells = [f"{sum(counts.values()) / total[arm]:.1f}" for arm in ARMS]
    ratios = [f"{total[other] / total['medvlm']:.2f}x" for other in ("pydicom", "MONAI")]
    print(f"| **all, total time** ({sum(counts.values())}) | " + " | ".join(cells + ratios) + " |")
    means = [
        statistics.geometric_mean([row[other] / row["medvlm"] for row in medians.values()])
        for other in ("pydicom", "MONAI")
    ]
    print(f"| **syntaxes, geometric mean** | {'| ' * len(ARMS)}{means[0]:.2f}x | {means[1]:.2f}x |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, without the large radiograph")
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds, not wall time")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    clock = cpu_seconds if arguments.cpu else time.perf_counter
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as folder:
        files = corpus(Path(folder), arguments.quick)
        medians = measure(files, 1 if arguments.quick else arguments.rounds, clock)
    print_table(files, medians)
    clock_name, load = "CPU" if arguments.cpu else "wall", os.getloadavg()[0]
    print(f"\none core; {clock_name} time; load average at the end {load:.1f}; pydicom {pydicom.__version__}")


if __name__ == "__main__":
    main()
