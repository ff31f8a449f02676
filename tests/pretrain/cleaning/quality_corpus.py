"""Made texts of two labels and six sources each, sharing words within a label and habits within a source."""

from random import Random

MEDICAL = (
    "lung heart effusion fracture lesion patient chronic acute left right mild severe pleural bone oedema liver".split()
)
OTHER = "file server install python command package option click price offer licence code button page user menu".split()
SHARED = "the of and is with in no a for are to there".split()


def corpus(each: int = 40, seed: int = 0, sources: int = 3) -> list[tuple[str, bool, str]]:
    """(text, label, source), each text once."""
    draw = Random(seed)
    rows = []
    for label, words in ((True, MEDICAL), (False, OTHER)):
        for source in range(sources):
            own = words[source * 3 :]  # a source has words of its own way
            for n in range(each):
                body = [draw.choice(own if draw.random() < 0.45 else SHARED) for _ in range(18)]
                rows.append((f"{' '.join(body)} {seed}{n}", label, f"{'m' if label else 'o'}{source}"))
    return rows
