"""The whole data engine over generated reports: cost per document by size, on one and two workers, and through Ray.

    python perf/data_engine.py --tree runs/met
    python perf/data_engine.py --tree runs/met --sizes 10000 100000 1000000
    python perf/data_engine.py --quick

Documents are drawn from a grammar of chest radiograph reports with sizes, sides and places: hardly two are equal. One
in fifty is a copy of an earlier one, one in fifty breaks a rule. Every run is the command ``medvlm data build`` in a
process of its own; the digest of its shards must be the same for every arm of a size. Memory is the highest resident
size of the process and its workers together, looked at five times a second.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FINDINGS = tuple(
    "pleural effusion, pneumothorax, consolidation, nodule, cardiomegaly, atelectasis, rib fracture, "
    "interstitial edema, hiatal hernia, granuloma, emphysema, scoliosis, pneumonia, mass".split(", ")
)
PLACES = (
    "left lower lobe",
    "right upper lobe",
    "right middle lobe",
    "lingula",
    "left apex",
    "right base",
    "left hilum",
)
ENDS = (
    "The bones are unremarkable.",
    "Comparison is made with the prior film.",
    "The heart is of normal size.",
    "Degenerative changes of the spine.",
    "The mediastinum is not widened.",
    "Follow-up is recommended.",
)


def documents(count: int) -> Iterator[dict[str, str]]:
    """Reports with a key and a patient."""
    chance = random.Random(count)
    for number in range(count):
        seed = chance.randrange(number) if number % 50 == 49 else number  # a copy of an earlier one
        text = "ok" if number % 50 == 25 else report(random.Random(seed))
        yield {"key": f"d{number}", "patient": f"p{number // 2}", "text": text}


def report(chance: random.Random) -> str:
    lines = []
    for _ in range(chance.randint(2, 5)):
        finding, place = chance.choice(FINDINGS), chance.choice(PLACES)
        how = chance.choice(("There is a {} in the {} of {} mm.", "No {} in the {}, checked over {} mm.",
                             "Possible {} in the {}, {} mm.", "Unchanged {} of the {}, now {} mm."))  # fmt: skip
        lines.append(how.format(finding, place, chance.randint(2, 90)))
    lines += chance.sample(ENDS, chance.randint(1, 3))
    return (
        f"Findings: {' '.join(lines)}\n\nImpression: {chance.choice(FINDINGS).capitalize()}, {chance.randint(1, 400)}."
    )


def run(recipe: Path, out: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds and the highest memory in MiB of one run."""
    command = [sys.executable, "-c", "import medvlm; medvlm.main()", "data", "build", str(recipe), "--out", str(out)]
    start, highest = time.perf_counter(), 0.0
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        highest = max(highest, resident(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.stderr.read() if process.stderr else "the run failed")
    return time.perf_counter() - start, highest


def resident(pid: int) -> float:
    try:
        parent = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [parent, *parent.children(recursive=True)]) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def digest(out: Path) -> str:
    files = sorted(p for p in (out / "shards").rglob("shard-*.tar"))
    return hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in files)).hexdigest()[:12]


def stages(out: Path) -> str:
    facts = json.loads((out / "card.json").read_text("utf-8"))
    return ", ".join(f"{name} {row['kept']:,}" for name, row in facts["stages"].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path("runs/met"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--arms", nargs="+", default=["1 worker", "2 workers", "Ray, 2 workers"])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    tree = str(options.tree.resolve()) if options.tree.exists() else None
    if options.quick:
        options.sizes, tree = [200, 400], None
    arms = {
        "1 worker": ["--workers", "1"],
        "2 workers": ["--workers", "2"],
        "Ray, 2 workers": ["--workers", "2", "--ray", "local"],
    }
    print("| documents | arm | seconds | documents/s | ms a document | memory MiB | shards |")
    print("|---:|---|---:|---:|---:|---:|---|")
    for size in options.sizes:
        work = Path(tempfile.mkdtemp(prefix="medvlm-engine-"))
        with (work / "reports.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in documents(size))
        source = {"path": str(work / "reports.jsonl"), "identity": "public", "kind": "report", "group": False}
        (work / "recipe.yaml").write_text(json.dumps({"name": "perf", "tree": tree, "sources": [source]}))
        told = ""
        for name in options.arms:
            seconds, memory = run(work / "recipe.yaml", work / "out", arms[name])
            row = f"{seconds:.0f} | {size / seconds:,.0f} | {seconds / size * 1e3:.2f} | {memory:,.0f}"
            print(f"| {size:,} | {name} | {row} | {digest(work / 'out')} |", flush=True)
            told = stages(work / "out")
            shutil.rmtree(work / "out")
        print(f"<!-- {size:,}: {told} -->")
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
