"""Duplicates among radiographs: recall by kind of alteration, false pairs among patients and among one's studies.

    python perf/image_dedup.py                         # 40 simulated patients with two studies, and real files
    python perf/image_dedup.py --patients 100 --workers 2
    python perf/image_dedup.py --quick                 # 2 patients, for a look

Of each simulated patient there is a film, altered copies of it, and a second study: the same anatomy and findings in
another position with another exposure, which is harder to tell apart than a real follow-up, since nobody breathes in
the simulator. Films are SIMULATED; the real files are those of pydicom-data (one object in several encodings, slices
of one series, other patients). The pipeline runs as it does for a user: signatures, candidates, verification.
"""

import argparse
import io
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from pretrain.dedup.image import ImageSettings, image_signatures
from pretrain.dedup.image_run import PAIRS, image_duplicates
from pretrain.dedup.store import write_parquet
from pretrain.sources.chest import case as chest_case

SIZE = 640
Picture = np.ndarray


def film(patient: int, visit: int) -> Picture:
    """(H, W) uint16 of a simulated patient; another visit has another position, texture and exposure."""
    stream = chest_case.stream

    def drawn(seed: int, patient: int, purpose: str) -> np.random.Generator:
        again = visit and purpose.startswith(("views", "texture", "exposure"))
        return stream(seed, patient, f"{purpose}/visit{visit}" if again else purpose)

    with patch.object(chest_case, "stream", drawn):
        return chest_case.generate_case(5, patient, size=SIZE, lateral_share=0).images[0]


def drawn(raw: Picture, low: float = 0.5, high: float = 99.5) -> Picture:
    a, b = np.percentile(raw, (low, high))
    return (np.clip((raw.astype(float) - a) / (b - a), 0, 1) * 255 + 0.5).astype(np.uint8)


def jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def sized(picture: Picture, height: int, width: int) -> Picture:
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def cropped(picture: Picture, most: float, chance: np.random.Generator) -> Picture:
    """Up to ``most`` of a side is cut off at each of the four edges."""
    height, width = picture.shape
    top, bottom, left, right = chance.random(4) * most
    return picture[int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)]


def linear(picture: Picture, gain: float, offset: float) -> Picture:
    return np.clip(picture * gain + offset, 0, 255).astype(np.uint8)


def gamma(picture: Picture, power: float) -> Picture:
    return (255 * (picture / 255.0) ** power).astype(np.uint8)


def equalised(picture: Picture) -> Picture:
    total = np.cumsum(np.bincount(picture.ravel(), minlength=256))
    return (255 * total / total[-1]).astype(np.uint8)[picture]


def labelled(picture: Picture) -> Picture:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.rectangle((5, 5, picture.shape[1] // 3, picture.shape[0] // 16), fill=0)
    draw.text((10, 10), "PORTABLE 12:30", fill=255)
    return np.array(image)


def squared(picture: Picture) -> Picture:
    height, width = picture.shape
    more = abs(height - width) // 2
    return np.pad(picture, ((0, 0), (more, more)) if height > width else ((more, more), (0, 0)))


def handed_on(picture: Picture, chance: np.random.Generator) -> Picture:
    """What a slide or a web page does to a film."""
    return jpeg(sized(cropped(linear(picture, 0.85, 20), 0.05, chance), 320, 288), 60)


ALTERATIONS: dict[str, Callable[[Picture, Picture, np.random.Generator], Picture]] = {
    "same pixels": lambda raw, x, chance: x.copy(),
    "JPEG, quality 75": lambda raw, x, chance: jpeg(x, 75),
    "JPEG, quality 30": lambda raw, x, chance: jpeg(x, 30),
    "half the size": lambda raw, x, chance: sized(x, x.shape[0] // 2, x.shape[1] // 2),
    "squashed to 224 x 224": lambda raw, x, chance: sized(x, 224, 224),
    "cropped, to 5 % an edge": lambda raw, x, chance: cropped(x, 0.05, chance),
    "cropped, to 10 % an edge": lambda raw, x, chance: cropped(x, 0.10, chance),
    "black border": lambda raw, x, chance: np.pad(x, ((50, 50), (30, 70))),
    "white border": lambda raw, x, chance: np.pad(x, ((20, 20), (20, 30)), constant_values=255),
    "padded to a square": lambda raw, x, chance: squared(x),
    "brighter, flatter": lambda raw, x, chance: linear(x, 0.7, 50),
    "darker, steeper": lambda raw, x, chance: linear(x, 1.2, -40),
    "gamma 0.6": lambda raw, x, chance: gamma(x, 0.6),
    "gamma 1.8": lambda raw, x, chance: gamma(x, 1.8),
    "narrow window of the 12 bits": lambda raw, x, chance: drawn(raw, 25, 80),
    "histogram equalised": lambda raw, x, chance: equalised(x),
    "noise": lambda raw, x, chance: np.clip(x + chance.normal(0, 5, x.shape), 0, 255).astype(np.uint8),
    "label burned in": lambda raw, x, chance: labelled(x),
    "crop, brightness, size, JPEG": lambda raw, x, chance: handed_on(x, chance),
    "negative": lambda raw, x, chance: 255 - x,
    "mirrored": lambda raw, x, chance: np.ascontiguousarray(x[:, ::-1]),
}  # fmt: skip


def sign(folder: Path, patients: int) -> int:
    """One signature part a patient; keys say what a picture is: patient, study, alteration."""
    count = 0
    for patient in range(patients):
        chance = np.random.default_rng(patient)
        raw = film(patient, 0)
        picture = drawn(raw)
        keys, pictures = [f"{patient:04d}/0/original"], [picture]
        for name, alter in ALTERATIONS.items():
            keys.append(f"{patient:04d}/0/{name}")
            pictures.append(alter(raw, picture, chance))
        keys.append(f"{patient:04d}/1/original")
        pictures.append(drawn(film(patient, 1)))
        table = image_signatures(pictures)
        order = pa.array([0 if key.endswith("original") else 1 for key in keys])
        table = table.add_column(0, "order", order).add_column(0, "key", pa.array(keys))
        write_parquet(table, folder / f"part-{patient:04d}.parquet")
        count += len(keys)
    return count


def proposed(signatures: Path, settings: ImageSettings) -> Counter:
    """Alterations whose own hash proposes the pair with the original, were no other copy there to lead to it."""
    from pretrain.dedup.image import VIEWS, WORDS
    from pretrain.dedup.neighbours import hash_pairs

    found: Counter = Counter()
    for part in sorted(signatures.glob("*.parquet")):
        table = pq.read_table(part, columns=["key", "hashes"])
        hashes = np.array(table["hashes"].to_pylist(), np.uint64).reshape(len(table), VIEWS + 1, WORDS)
        for at, key in enumerate(table["key"].to_pylist()):
            plain, mirrored, _ = hash_pairs(hashes[[0, at]], settings.radius, 1)
            found[key.split("/")[2]] += len(mirrored if key.endswith("mirrored") else plain)
    return found


def report_simulated(work: Path, by_hash: Counter) -> None:
    rows = pq.read_table(work / "image_decisions.parquet").to_pylist()
    found, total, false = Counter(), Counter(), []
    for row in rows:
        patient, study, what = row["key"].split("/")
        if what != "original":
            total[what] += 1
            same = row["keeper"] == f"{patient}/{study}/original"
            found[what] += same if what != "mirrored" else row["keeper"] == row["key"] and row["group"] != row["key"]
        if row["keeper"].split("/")[:2] != [patient, study] or row["cluster"].split("/")[:2] != [patient, study]:
            false.append((row["key"], row["keeper"], row["cluster"]))
    print("\n| alteration | pictures | found | its hash alone proposes it |\n|---|---|---|---|")
    for what in ALTERATIONS:
        label = f"{what} (found as such, kept)" if what == "mirrored" else what
        print(f"| {label} | {total[what]} | {found[what]} ({found[what] / total[what]:.0%}) | {by_hash[what]} |")
    best, pairs = defaultdict(lambda: -1.0), Counter()
    for row in pq.read_table(work / PAIRS).to_pylist():
        (p, s, _), (q, t, _) = row["a"].split("/"), row["b"].split("/")
        kind = "other patients" if p != q else "studies of one patient" if s != t else "one film"
        pairs[kind] += 1
        best[kind] = max(best[kind], row["agreement"])
    print("\n| candidates that were verified | pairs | highest agreement |\n|---|---|---|")
    for kind in sorted(pairs):
        print(f"| {kind} | {pairs[kind]} | {best[kind]:.2f} |")
    print(f"\npictures merged with another patient or study: {len(false)} {false[:5]}")


def second_studies(patients: int, settings: ImageSettings) -> None:
    """Agreement of every patient's two films, and of films of neighbours, whether or not a hash proposes them."""
    from pretrain.dedup.align import compare, detail_of
    from pretrain.dedup.image import square_of

    films = [[detail_of(square_of(drawn(film(patient, visit)))) for visit in (0, 1)] for patient in range(patients)]
    own = [compare(*pair).agreement for pair in films]
    others = [
        compare(films[i][0], films[j][0]).agreement for i in range(patients) for j in range(i + 1, min(i + 8, patients))
    ]
    print("\n| all pairs, without any hash | pairs | median agreement | highest | merged |\n|---|---|---|---|---|")
    for name, values in (("two studies of one patient", own), ("two patients", others)):
        merged = sum(value >= settings.agreement for value in values)
        print(f"| {name} | {len(values)} | {np.median(values):.2f} | {max(values):.2f} | {merged} |")


def real_files(folder: Path, settings: ImageSettings) -> None:
    """Every image of pydicom-data: what is merged, and does it come from one object?"""
    import data_store
    import pydicom

    from vlm.imaging import ImagingError, read_header, read_image

    keys, pictures, series, refused = [], [], {}, Counter()
    files = [p for p in sorted(Path(data_store.__file__).parent.rglob("*")) if p.is_file() and p.suffix != ".py"]
    for path in files:
        try:
            pictures.append(read_image(path, pet_units="file").render())
            header = read_header(path)
        except ImagingError as error:
            refused[error.code] += 1
            continue
        keys.append(path.name)
        patient = str(pydicom.dcmread(path, stop_before_pixels=True, force=True).get("PatientID", ""))
        series[path.name] = (patient, str(header.modality))
    (folder / "signatures").mkdir(parents=True)
    table = image_signatures(pictures).add_column(0, "key", pa.array(keys))
    write_parquet(table, folder / "signatures" / "part.parquet")
    decided = image_duplicates(folder / "signatures", folder / "work", settings)
    rows = pq.read_table(decided).to_pylist()
    print(f"\n{len(keys)} real images of pydicom-data ({sum(refused.values())} files are none or cannot be read)")
    print("\n| picture | is | as | agreement |\n|---|---|---|---|")
    for row in rows:
        if row["keeper"] != row["key"]:
            print(f"| {row['key']} | {row['relation']} | {row['keeper']} | {row['agreement']:.2f} |")
    cross = [r["key"] for r in rows if series[r["key"]] != series[r["keeper"]]]
    print(f"\nmerged across patients or modalities: {len(cross)} {cross}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    patients = 2 if options.quick else options.patients
    settings = ImageSettings()
    with tempfile.TemporaryDirectory(prefix="medvlm-image-dedup-") as name:
        folder = Path(name)
        (folder / "signatures").mkdir()
        start = time.process_time()
        count = sign(folder / "signatures", patients)
        signed = time.process_time()
        image_duplicates(folder / "signatures", folder / "work", settings, workers=options.workers)
        done = time.process_time()
        verified = pq.read_metadata(folder / "work" / PAIRS).num_rows
        print(f"{count} pictures of {patients} simulated patients; {verified} pairs verified; this process's CPU: "
              f"signatures with simulation {signed - start:.0f} s, duplicates {done - signed:.0f} s")  # fmt: skip
        report_simulated(folder / "work", proposed(folder / "signatures", settings))
        second_studies(patients, settings)
        if not options.quick:
            real_files(folder / "real", settings)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
