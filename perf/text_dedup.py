"""Near-duplicates among a million short documents: recall by Jaccard, false pairs, time and memory.

    python perf/text_dedup.py                          # 1,000,000 documents on 1 and on 2 processes
    python perf/text_dedup.py --documents 100000 --workers 1
    python perf/text_dedup.py --quick                  # 5,000 documents, for a look

The documents are radiology-like sentences drawn at random (seeded); one in twenty is one of a few dozen normal
reports, word for word. Planted among them: copies with edits at a known Jaccard similarity from the threshold up,
copies just below it, and copies in which a number, a side or a negation is another. The similarity of every planted
pair, and of every pair that was merged, is computed again here, from the texts, with sets of tuples: none of
medvlm's hashing is used for the judgement. Edits of the planted copies stay out of sentences that the guard watches
(numbers, sides, negations, degrees); "anywhere" are copies edited without that care, to see what the guard refuses.
"""

import argparse
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.dedup.text import TextSettings
from pretrain.dedup.text_parts import sign_texts
from pretrain.dedup.text_run import summary, text_duplicates
from pretrain.dedup.words import Kind, kind_of, tokens

PLANTED = {"near": 0.02, "anywhere": 0.005, "below": 0.01, "fact": 0.01}
BINS = (0.60, 0.70, 0.75, 0.80, 0.82, 0.84, 0.88, 0.92, 1.0)
LOBES = "upper lobe|middle lobe|lower lobe|lingula|apex|base|hilum|costophrenic angle|perihilar region|lung".split("|")
SIDES = ("left", "right")
FINDINGS = (
    "consolidation|opacity|atelectasis|nodule|mass|cavity|infiltrate|scarring|granuloma|calcification|bulla|"
    "thickening|reticulation|bronchiectasis|honeycombing|effusion|pneumothorax|haziness|lucency|density"
).split("|")
LOOKS = "patchy|linear|rounded|ill-defined|spiculated|hazy|dense|streaky|lobulated|well-circumscribed|faint".split("|")
ORGANS = (
    "heart|aorta|mediastinum|trachea|diaphragm|spine|ribs|clavicles|stomach bubble|liver|spleen|pulmonary arteries|"
    "azygos vein|thyroid|soft tissues|shoulder joints|sternum|oesophagus"
).split("|")
STATES = (
    "unremarkable|within the expected range|tortuous|prominent|displaced|calcified|obscured by overlying leads|"
    "partly imaged|degenerated|intact|demineralised|rotated|well visualised"
).split("|")
REASONS = (
    "cough|fever|dyspnoea|chest pain|a fall|preoperative assessment|line placement|known sarcoidosis|haemoptysis|"
    "weight loss|follow-up after pneumonia|suspected aspiration|night sweats|hypoxia|a positive skin test"
).split("|")
ADVICE = (
    "Correlation with the clinical picture is advised|A lateral projection would add information|"
    "Computed tomography may be considered|Comparison with outside films would help|Repeat imaging after therapy|"
    "The referring physician was informed by telephone|Please see the dedicated examination for details|"
    "An endoscopic work-up could be discussed|The examination is limited by patient motion"
).split("|")
NEUTRAL = "again overall otherwise incidentally also furthermore today currently however interestingly".split()


def sentence(chance: random.Random) -> str:
    pick = chance.choice
    where, side, mm = pick(LOBES), pick(SIDES), chance.randint(2, 48)
    return pick((
        lambda: f"There is a {pick(LOOKS)} {pick(FINDINGS)} in the {side} {where} measuring {mm} mm.",
        lambda: f"{pick(LOOKS).capitalize()} {pick(FINDINGS)} projects over the {side} {where}.",
        lambda: f"No {pick(FINDINGS)} or {pick(FINDINGS)} is seen in the {side} {where}.",
        lambda: f"The {pick(ORGANS)} and the {pick(ORGANS)} are {pick(STATES)}.",
        lambda: f"The {pick(ORGANS)} appears {pick(STATES)}, while the {pick(ORGANS)} looks {pick(STATES)}.",
        lambda: f"Examination performed for {pick(REASONS)} and {pick(REASONS)}.",
        lambda: f"{pick(ADVICE)}.",
        lambda: f"Catheter from the {side} side with its tip {mm} mm above the {pick(ORGANS)}.",
        lambda: f"Compared with the film of {chance.randint(1, 28)}.{chance.randint(1, 12)}."
        f"{chance.randint(2005, 2024)} the {pick(FINDINGS)} of the {where} has changed in extent.",
        lambda: f"The {pick(FINDINGS)} described at the {where} may represent {pick(FINDINGS)} from {pick(REASONS)}.",
    ))()  # fmt: skip


def document(chance: random.Random, normal: list[str]) -> str:
    if chance.random() < 0.05:
        return chance.choice(normal)
    return " ".join(sentence(chance) for _ in range(chance.randint(2, 9)))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\d+(?:[.]\d+)*|[a-z]+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def similarity(a: str, b: str) -> float:
    x, y = shingles(a), shingles(b)
    return len(x & y) / len(x | y)


def watched(part: str) -> bool:
    """Does a sentence hold a word that the guard watches?"""
    return any(kind_of(token) > Kind.end for token in tokens(part.lower()))


def edited(text: str, low: float, high: float, chance: random.Random, anywhere: bool = False) -> str | None:
    """A copy whose similarity lies in [low, high): words put in or replaced, sentences without facts added."""
    parts = re.split(r"(?<=\.) ", text)
    free = [i for i, part in enumerate(parts) if anywhere or not watched(part)]
    for _ in range(30):
        copy = list(parts)
        for _ in range(chance.randint(1, 6)):
            if not free or chance.random() < 0.2:
                copy.append(f"{chance.choice([a for a in ADVICE if not watched(a)])}.")
                continue
            at = chance.choice(free)
            words = copy[at].split()
            spot = chance.randrange(len(words) - 1)
            if chance.random() < 0.6:
                words.insert(spot + 1, chance.choice(NEUTRAL))
            else:
                words[spot] = chance.choice(NEUTRAL)
            copy[at] = " ".join(words)
        made = " ".join(copy)
        if low <= similarity(text, made) < high:
            return made
    return None


def other_fact(text: str, chance: random.Random) -> str | None:
    """A copy with one other number, side, or without a negation, still at least 0.8 similar."""
    swaps = list(re.finditer(r"\b(left|right|No|\d+(?= mm))\b", text))
    chance.shuffle(swaps)
    for m in swaps:
        new = {"left": "right", "right": "left", "No": "Some"}.get(m[0], str(int(m[0]) + 1) if m[0].isdigit() else "")
        made = text[: m.start()] + new + text[m.end() :]
        if similarity(text, made) >= 0.8:
            return made
    return None


def corpus(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """(key, text, what it is): keys of planted copies name their original."""
    chance = random.Random(seed)
    normal = [" ".join(sentence(chance) for _ in range(4)) for _ in range(40)]
    at = 0
    while at < count:
        text = document(chance, normal)
        key = f"{at:08d}"
        yield key, text, "document"
        at += 1
        for kind, share in PLANTED.items():
            if at < count and chance.random() < share * 1.25:
                low = chance.uniform(0.66, 0.79) if kind == "below" else chance.uniform(0.80, 0.97)
                high = min(low + 0.04, 0.80 if kind == "below" else 1.0)
                if kind == "fact":
                    made = other_fact(text, chance)
                else:
                    made = edited(text, low, high, chance, anywhere=kind == "anywhere")
                if made and made != text:
                    yield f"{at:08d}-{kind}-{key}", made, kind
                    at += 1


def tables(path: Path) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=20_000):
        yield pa.Table.from_batches([batch])


def write_corpus(path: Path, count: int, seed: int) -> None:
    schema = pa.schema({"key": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(path, schema) as file:
        rows: list[tuple[str, str]] = []
        for key, text, _ in corpus(count, seed):
            rows.append((key, text))
            if len(rows) == 20_000:
                file.write_table(pa.table(dict(zip(schema.names, zip(*rows), strict=True)), schema=schema))
                rows = []
        if rows:
            file.write_table(pa.table(dict(zip(schema.names, zip(*rows), strict=True)), schema=schema))


def work(path: Path, folder: Path, workers: int) -> None:
    """The pipeline alone, in a process of its own, so that its memory is its own."""
    settings = TextSettings()
    start = time.perf_counter()
    sign_texts(tables(path), folder / "signatures", settings, workers=workers)
    signed = time.perf_counter()
    text_duplicates(folder / "signatures", folder / "work", settings)
    done = time.perf_counter()
    own, children = (
        resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"{signed - start:.1f} {done - signed:.1f} {own:.0f} {children if workers > 1 else 0:.0f}")


def judge(path: Path, decisions: Path, threshold: float) -> None:
    rows = pq.read_table(decisions, columns=["key", "relation", "keeper", "cluster"]).to_pylist()
    decided = {row["key"]: row for row in rows}
    wanted = {row["keeper"] for row in rows if row["keeper"] != row["key"]}
    wanted |= {row["key"] for row in rows if row["keeper"] != row["key"]}
    planted = [key.split("-") + [key] for key in decided if "-" in key]
    wanted |= {key for _, _, original, whole in planted for key in (original, whole)}
    texts = {}
    for table in tables(path):
        texts.update((k, t) for k, t in zip(table["key"].to_pylist(), table["text"].to_pylist()) if k in wanted)
    total, found, merged = Counter(), Counter(), Counter()
    for _, kind, original, key in planted:
        gone = any(decided[k]["keeper"] != k for k in (key, original))
        same = decided[key]["cluster"] == decided[original]["cluster"]
        if kind == "anywhere":
            total[kind] += 1
            found[kind] += same and gone
            continue
        if kind == "fact":
            merged["fact"] += decided[key]["keeper"] == decided[original]["keeper"]
            total["fact"] += 1
            continue
        value = similarity(texts[key], texts[original])
        place = max(b for b in BINS if b <= value)
        total[place] += 1
        found[place] += same and gone
        merged[place] += decided[key]["keeper"] in (original, decided[original]["keeper"])
    print("\n| Jaccard of the planted pair | pairs | found | recall |\n|---|---|---|---|")
    for low, high in pairwise(BINS):
        if total[low]:
            said = f"{found[low] / total[low]:.4%}" if low >= threshold else "below the threshold"
            count = merged[low] if low < threshold else found[low]
            print(f"| {low:.2f} to {high:.2f} | {total[low]:,} | {count:,} | {said} |")
    above = [b for b in BINS if b >= threshold]
    all_found, all_planted = sum(found[b] for b in above), sum(total[b] for b in above)
    print(f"| all at or above {threshold} | {all_planted:,} | {all_found:,} | {all_found / max(1, all_planted):.4%} |")
    pairs = [(row["key"], row["keeper"]) for row in rows if row["keeper"] != row["key"]]
    false = sum(similarity(texts[a], texts[b]) < threshold - 1e-12 for a, b in pairs)
    print(
        f"\nmerged pairs: {len(pairs):,}; with a Jaccard similarity below {threshold}: {false} "
        f"({false / max(1, len(pairs)):.3%})"
    )
    print(
        f"copies edited anywhere, Jaccard 0.8 and more: {total['anywhere']:,}, of which merged: {found['anywhere']:,}"
    )
    print(f"copies with another number, side or negation: {total['fact']:,}, of which merged: {merged['fact']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(*options.work, options.workers[0])
    if options.quick:
        options.documents, options.workers = 5_000, [1]
    settings = TextSettings()
    with tempfile.TemporaryDirectory(prefix="medvlm-text-dedup-") as name:
        folder, path = Path(name), Path(name) / "corpus.parquet"
        write_corpus(path, options.documents, options.seed)
        print(f"{options.documents:,} documents; Jaccard >= {settings.threshold} of word {settings.ngram}-grams; "
              f"{settings.bands[0]} bands of {settings.bands[1]} rows\n")  # fmt: skip
        print(
            "| processes | signatures, s | duplicates, s | peak of the parent, MiB | of a child, MiB |\n"
            "|---|---|---|---|---|"
        )
        first = None
        for workers in options.workers:
            out = folder / f"w{workers}"
            command = [sys.executable, __file__, "--workers", str(workers), "--work", str(path), str(out)]
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode:
                raise SystemExit(said.stderr)
            print("| " + " | ".join([str(workers), *said.stdout.split()]) + " |", flush=True)
            decisions = out / "work" / "text_decisions.parquet"
            same = first is None or first.read_bytes() == decisions.read_bytes()
            first = first or decisions
            shutil.rmtree(out / "signatures")
            if not same:
                raise SystemExit("the decisions depend on the number of processes")
        assert first is not None
        judge(path, first, settings.threshold)
        print("\n" + "\n".join(f"{name}: {n:,}" for name, n in summary(first).items()))


if __name__ == "__main__":
    main()
