"""Samples per second from our shards in plan order, against the raw tar and against webdataset.

    python perf/shard_reading.py                    # 2,000 samples of 512 x 512 pixels, 16 bits
    python perf/shard_reading.py --quick            # seconds, to see that it runs
    python perf/shard_reading.py --cold             # pages dropped from memory before every pass
    python perf/shard_reading.py --shards FOLDER    # your own shards (the folder with dataset.json)

Arms are run in turns, several rounds, and the median of each is reported. "plan order" is the block-shuffled order of
training; "raw tar" is Python's tarfile from front to back; "plain read" is the same bytes read with no look at them.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset.compat import WebDataset

from pretrain.shards import DatasetInfo, Plan, PlanReader, ShardSet, ShardWriter
from vlm.imaging import MedicalImage, Provenance
from vlm.sample import EncodedImage, Sample, SampleProvenance

Arm = Callable[[ShardSet], int]


def make_shards(folder: Path, samples: int, side: int, per_shard: int) -> ShardSet:
    """Samples with one noisy 12-bit picture each, written as an import would."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    base = 1500 + 900 * np.sin(5 * x) * np.cos(4 * y)
    with ShardWriter(folder, DatasetInfo("perf", "drawn", "none", True), max_samples=per_shard) as writer:
        for i in range(samples):
            pixels = (base + rng.normal(0, 40, (side, side))).clip(0, 4095).astype(np.uint16)
            image = MedicalImage(
                pixels=pixels,
                units="stored",
                spacing_mm=None,
                spacing_source="unknown",
                modality="DX",
                inverted=False,
                windows=(),
                valid=None,
                provenance=Provenance(sha256="0" * 64, kind="array"),
            )
            messages = [
                {"role": "user", "content": [{"type": "image", "image": 0}, {"type": "text", "text": "Report."}]},
                {"role": "assistant", "content": "The lungs are clear. " * int(rng.integers(3, 20))},
            ]
            writer.write(Sample(f"s{i:06d}", messages, [EncodedImage.encode(image)], SampleProvenance("drawn")))
    return ShardSet.open(folder)


def plain_read(shards: ShardSet) -> int:
    """Bytes of the tars, one MiB at a time."""
    buffer = bytearray(1 << 20)
    for shard in shards.shards:
        with (shards.folder / shard.name).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return len(shards)


def _tar_records(shards: ShardSet):
    for shard in shards.shards:
        record, key = {}, ""
        with tarfile.open(shards.folder / shard.name) as tar:
            for member in tar:
                name, _, suffix = member.name.partition(".")
                if name != key and record:
                    yield record
                    record = {}
                key = name
                record[suffix] = tar.extractfile(member).read()  # type: ignore[union-attr]
        yield record


def raw_tar(shards: ShardSet) -> int:
    return sum(1 for _ in _tar_records(shards))


def raw_tar_decoded(shards: ShardSet) -> int:
    return sum(_decode(record) for record in _tar_records(shards))


def _decode(record: dict[str, bytes]) -> int:
    head = json.loads(record["json"])
    for i, image in enumerate(head["images"]):
        np.array(Image.open(io.BytesIO(record[f"{i}.{image['suffix']}"])))
    return 1


def _webdataset(shards: ShardSet):
    return WebDataset([str(shards.folder / s.name) for s in shards.shards], shardshuffle=False)


def webdataset_sequential(shards: ShardSet) -> int:
    return sum(1 for _ in _webdataset(shards))


def webdataset_shuffled(shards: ShardSet) -> int:
    return sum(1 for _ in _webdataset(shards).shuffle(1000))


def webdataset_decoded(shards: ShardSet) -> int:
    return sum(_decode(sample) for sample in _webdataset(shards))


def _plan_reader(shards: ShardSet, **options) -> PlanReader:
    return PlanReader(Plan(shards, seed=0, batch=1), **options)


def plan_raw(shards: ShardSet) -> int:
    reader = _plan_reader(shards)
    return sum(1 for t in range(len(shards)) if reader.raw(t))


def plan_records(shards: ShardSet) -> int:
    reader = _plan_reader(shards)
    return sum(1 for t in range(len(shards)) if reader.record(t))


def plan_records_without_read_ahead(shards: ShardSet) -> int:
    reader = _plan_reader(shards, read_ahead=0)
    return sum(1 for t in range(len(shards)) if reader.record(t))


def plan_decoded(shards: ShardSet, verify: bool = True) -> int:
    reader = _plan_reader(shards, verify=verify)
    for t in range(len(shards)):
        for image in reader.sample(t).images:
            image.decode()
    return len(shards)


def plan_decoded_unhashed(shards: ShardSet) -> int:
    return plan_decoded(shards, verify=False)


UNDECODED: dict[str, Arm] = {
    "raw tar (tarfile, front to back)": raw_tar,
    "ours, plan order, members": plan_records,
    "ours, plan order, members, no read-ahead": plan_records_without_read_ahead,
    "ours, plan order, spans only": plan_raw,
    "webdataset, front to back": webdataset_sequential,
    "webdataset, shuffle buffer 1000": webdataset_shuffled,
    "plain read of the bytes": plain_read,
}
DECODED: dict[str, Arm] = {
    "raw tar (tarfile), json + PIL": raw_tar_decoded,
    "ours, plan order, hash checked, MedicalImage": plan_decoded,
    "ours, plan order, hash not checked, MedicalImage": plan_decoded_unhashed,
    "webdataset, json + PIL": webdataset_decoded,
}


def measure(arms: dict[str, Arm], shards: ShardSet, rounds: int, cold: bool) -> dict[str, list[float]]:
    """Samples per second of each arm and round; the order of the arms turns with the round."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if cold:
                drop_pages(shards)
            begin = time.perf_counter()
            count = arms[name](shards)
            rates[name].append(count / (time.perf_counter() - begin))
            assert count == len(shards), (name, count)
    return rates


def drop_pages(shards: ShardSet) -> None:
    for shard in shards.shards:
        handle = os.open(shards.folder / shard.name, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def table(rates: dict[str, list[float]]) -> str:
    """Markdown; the first arm is what the others are divided by, round by round."""
    base = next(iter(rates.values()))
    lines = ["| arm | samples/s (median) | least - most | of the raw tar |", "|---|---|---|---|"]
    for name, values in rates.items():
        ratio = statistics.median(v / b for v, b in zip(values, base))
        lines.append(
            f"| {name} | {statistics.median(values):,.0f} | {min(values):,.0f} - {max(values):,.0f} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--per-shard", type=int, default=250)
    parser.add_argument("--shards", type=Path, help="read these instead of drawing some")
    parser.add_argument("--cold", action="store_true", help="drop the pages of the tars before each pass")
    parser.add_argument("--quick", action="store_true", help="small and short")
    args = parser.parse_args()
    if args.quick:
        args.samples, args.side, args.rounds, args.per_shard = 120, 192, 3, 40
    with tempfile.TemporaryDirectory(prefix="medvlm-perf-") as folder:
        if args.shards:
            shards = ShardSet.open(args.shards)
        else:
            shards = make_shards(Path(folder), args.samples, args.side, args.per_shard)
        report(shards, args.rounds, args.cold)


def report(shards: ShardSet, rounds: int, cold: bool) -> None:
    size = sum(s.bytes for s in shards.shards)
    print(
        f"{len(shards)} samples in {len(shards.shards)} shards, {size / 1e6:.0f} MB, {size / len(shards) / 1e3:.0f} kB "
        f"each; {rounds} rounds, {'cold' if cold else 'warm'} pages; {os.cpu_count()} cores, {platform.machine()}"
    )
    print("\nUndecoded:\n\n" + table(measure(UNDECODED, shards, rounds, cold)))
    print("\nDecoded:\n\n" + table(measure(DECODED, shards, max(3, rounds // 2), cold)))


if __name__ == "__main__":
    main()
