"""Quality classifier: hashed word and character n-grams with logistic regression, as plain numbers on the disk.

A text becomes counts of hashed features (words, pairs of words, and the 3- to 5-grams of each word with its borders;
digits are all "0", so that no value of a measurement is learnt), damped by log(1 + n) and scaled to length 1, so that a
long text is no better than a short one. The score is a probability: Platt's two parameters (1999) are fitted on texts
that the regression has not seen, and so is the threshold.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pretrain.cleaning.errors import QualityModelError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FORMAT = 1  # of features and files; another number is another classifier
WEIGHTS, SETTINGS = "weights.npz", "quality.json"
_BATCH = 2048
_MOST_CHARACTERS = 20_000  # of one text; what a document is shows in its first pages
_TOKEN = re.compile("[\u3400-\u9fff\uf900-\ufaff]|[^\\W_]+|[^\\w\\s]+|_+")
_DIGIT = re.compile(r"\d")
_PAIR = np.uint32(0x9E3779B1)


@lru_cache(maxsize=1 << 17)
def _hashes(token: str) -> np.ndarray:
    """Hashes of a token (first) and of its character n-grams, (n,) uint32."""
    from sklearn.utils import murmurhash3_32

    framed = f"<{token}>"
    grams = {framed[i : i + n] for n in (3, 4, 5) for i in range(len(framed) - n + 1)}
    hashed = [murmurhash3_32(f"c{gram}", positive=True) for gram in sorted(grams)]
    return np.array([murmurhash3_32(f"w{token}", positive=True), *hashed], np.uint32)


def features(texts: Iterable[str], bits: int) -> "csr_matrix":
    """Rows of unit length, (N, 2**bits) float32; an empty text is a row of zeros."""
    from scipy.sparse import csr_matrix

    columns, starts = [], [0]
    for text in texts:
        tokens = _TOKEN.findall(_DIGIT.sub("0", text[:_MOST_CHARACTERS].lower()))
        parts = [_hashes(token) for token in tokens]
        if parts:
            words = np.fromiter((part[0] for part in parts), np.uint32, len(parts))
            with np.errstate(over="ignore"):
                parts.append((words[:-1] * _PAIR) ^ (words[1:] + np.uint32(7)))
        found = np.concatenate(parts) if parts else np.empty(0, np.uint32)
        columns.append((found >> np.uint32(32 - bits)).astype(np.int32))
        starts.append(starts[-1] + len(found))
    indices = np.concatenate(columns) if columns else np.empty(0, np.int32)
    counts = csr_matrix((np.ones(len(indices), np.float32), indices, starts), shape=(len(columns), 1 << bits))
    counts.sum_duplicates()
    np.log1p(counts.data, out=counts.data)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(counts.indptr)).astype(np.float32)
    return counts


@dataclass(frozen=True)
class QualityClassifier:
    """Scores texts from 0 to 1.

    Attributes:
        weights: (2**bits,) float32.
        intercept: of the regression.
        slope, offset: Platt's, from the regression's margin to a probability.
        threshold: what reaches it is kept.
        about: what it was trained on; JSON only.
    """

    weights: np.ndarray
    intercept: float
    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def bits(self) -> int:
        """Size of the table of features as a power of two."""
        return len(self.weights).bit_length() - 1

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[bool], *, bits: int = 18, strength: float = 30.0) -> Self:
        """Regression on labelled texts; both classes weigh the same. Not calibrated yet: the threshold is 0.5.

        Args:
            texts, labels: N of each, True for what is wanted.
            strength: inverse of the L2 penalty (scikit-learn's C).

        Raises:
            QualityModelError: one class only.
        """
        wanted = _both(labels, "a classifier")
        weights, intercept = _regression(features(texts, bits), wanted, strength)
        about = {
            "texts": len(texts),
            "wanted": int(wanted.sum()),
            "strength": strength,
            "sha256": _digest(texts, wanted),
        }
        return cls(weights, intercept, about=about)

    @classmethod
    def fit_by_source(
        cls,
        texts: Sequence[str],
        labels: Sequence[bool],
        sources: Sequence[str],
        *,
        least_precision: float = 0.0,
        bits: int = 18,
        strength: float = 30.0,
    ) -> Self:
        """Trained on all texts, calibrated on what each text gets from a classifier that has not met its source.

        A threshold from rows of the same sources is too strict for others: everything looks surer than it is. So the
        sources are dealt into up to five folds with both labels in each, and the margins of a fold come from the
        regression on the others.

        Raises:
            QualityModelError: fewer than two sources of either label, or as :meth:`calibrated`.
        """
        wanted = _both(labels, "a classifier")
        folds = _folds(sources, wanted)
        rows = features(texts, bits)
        margins = np.empty(len(texts), np.float32)
        for fold in range(folds.max() + 1):
            learn, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            weights, intercept = _regression(rows[learn], wanted[learn], strength)
            margins[out] = rows[out] @ weights + np.float32(intercept)
        weights, intercept = _regression(rows, wanted, strength)
        about = {
            "texts": len(texts), "wanted": int(wanted.sum()), "strength": strength, "sha256": _digest(texts, wanted),
            "calibrated_on": f"{folds.max() + 1} folds of {len(set(sources))} sources",
        }  # fmt: skip
        return cls(weights, intercept, about=about)._with_calibration(margins, wanted, least_precision)

    def calibrated(self, texts: Sequence[str], labels: Sequence[bool], least_precision: float = 0.0) -> Self:
        """The same classifier with scores that are probabilities and a threshold, from texts it was not trained on.

        Args:
            texts, labels: M of each.
            least_precision: that the threshold must reach there; among such thresholds the one of the best F1.

        Raises:
            QualityModelError: one class only, or no threshold reaches that precision.
        """
        wanted = _both(labels, "calibration")
        made = self._with_calibration(self.margins(texts), wanted, least_precision)
        about = {"calibrated_on": f"{len(texts)} texts", "calibration_sha256": _digest(texts, wanted)}
        return replace(made, about={**self.about, **about})

    def _with_calibration(self, margins: np.ndarray, wanted: np.ndarray, least_precision: float) -> Self:
        slope, offset = _platt(margins, wanted)
        cut = _best_cut(margins, wanted, least_precision)
        threshold = float(_sigmoid(np.array([slope * cut + offset]))[0])
        return replace(self, slope=slope, offset=offset, threshold=threshold)

    def margins(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) float32 values of the regression in front of the sigmoid."""
        out = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            out[start : start + len(batch)] = features(batch, self.bits) @ self.weights + np.float32(self.intercept)
        return out

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) float32 probabilities that a text is wanted; an empty text gets 0."""
        scores = _sigmoid(self.slope * self.margins(texts) + self.offset)
        scores[[not text.strip() for text in texts]] = 0
        return scores

    def keeps(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) bool, whether a text reaches the threshold."""
        return self.score(texts) >= np.float32(self.threshold)

    def save(self, folder: str | Path) -> None:
        """Write ``weights.npz`` and ``quality.json``; equal classifiers give equal bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / WEIGHTS, weights=self.weights.astype(np.float32))
        numbers = {name: value for name, value in asdict(self).items() if name != "weights"}
        sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        settings = {"format": FORMAT, "bits": self.bits, "weights_sha256": sha256, **numbers}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a folder that :meth:`save` wrote; nothing in it is unpickled.

        Raises:
            QualityModelError: no classifier there, of another format, or damaged.
        """
        folder = Path(path)
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            data = (folder / WEIGHTS).read_bytes()
        except FileNotFoundError as error:
            raise QualityModelError(
                f"{folder} holds no quality classifier ({Path(error.filename).name} is missing): train one with "
                "`medvlm data quality train`"
            ) from None
        except ValueError as error:
            raise QualityModelError(f"{folder / SETTINGS} is damaged ({error}): train the classifier again") from error
        if settings.get("format") != FORMAT:
            raise QualityModelError(f"{folder} is of format {settings.get('format')}, not {FORMAT}: train it again")
        if hashlib.sha256(data).hexdigest() != settings.get("weights_sha256"):
            raise QualityModelError(f"{folder / WEIGHTS} is damaged or of another classifier: train it again")
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            weights = stored["weights"]
        if weights.dtype != np.float32 or weights.shape != (1 << settings["bits"],) or not np.isfinite(weights).all():
            raise QualityModelError(f"{folder / WEIGHTS} holds other numbers than its settings say: train it again")
        names = ("intercept", "slope", "offset", "threshold", "about")
        return cls(weights, **{name: settings[name] for name in names})


def _both(labels: Sequence[bool], what: str) -> np.ndarray:
    wanted = np.asarray(labels, bool)
    if wanted.all() or not wanted.any():
        raise QualityModelError(f"{what} needs texts of both labels, and all of these have one")
    return wanted


def _regression(rows: "csr_matrix", wanted: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Weights (F,) float32 and intercept."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300, tol=1e-4)
    with threadpool_limits(1):  # the same sums in the same order on every machine
        model.fit(rows, wanted)
    return model.coef_[0].astype(np.float32), float(np.asarray(model.intercept_)[0])


def _folds(sources: Sequence[str], wanted: np.ndarray) -> np.ndarray:
    """A fold for each text, (N,): sources are dealt out whole, larger ones first, those of either label evenly."""
    sizes = {label: Counter(s for s, w in zip(sources, wanted, strict=True) if w == label) for label in (True, False)}
    count = min(5, *(len(names) for names in sizes.values()))
    if count < 2:
        raise QualityModelError(
            "calibration over sources needs two sources of wanted and two of unwanted texts; with fewer, hold texts out"
        )
    dealt: dict[str, int] = {}
    for names in sizes.values():  # a source of both labels stays whole
        loads = [0] * count
        for name, size in sorted(names.items(), key=lambda item: (-item[1], item[0])):
            fold = dealt.setdefault(name, loads.index(min(loads)))
            loads[fold] += size
    return np.array([dealt[source] for source in sources])


def _platt(margins: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Slope and offset of P(wanted | margin), with Platt's smoothed targets, which keep both finite."""
    from scipy.optimize import minimize

    positives, negatives = int(wanted.sum()), int((~wanted).sum())
    target = np.where(wanted, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scale = max(float(np.abs(margins).mean()), 1e-6)
    design = np.stack([margins.astype(np.float64) / scale, np.ones(len(margins))], 1)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        x = design @ parameters
        value = np.logaddexp(0, x) - target * x
        return float(value.mean()), design.T @ (_sigmoid(x) - target) / len(x)

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-7}).x
    if slope <= 0:
        raise QualityModelError("the classifier ranks the texts of calibration the wrong way round: look at the labels")
    return float(slope / scale), float(offset)


def _best_cut(margins: np.ndarray, wanted: np.ndarray, least_precision: float) -> float:
    """The margin from which texts are kept: best F1 among the cuts of enough precision, between two neighbours."""
    order = np.argsort(-margins, kind="stable")
    ranked, hits = margins[order], np.cumsum(wanted[order])
    kept = np.arange(1, len(ranked) + 1)
    possible = np.append(ranked[1:] < ranked[:-1], True)  # equal margins are kept together
    f1 = 2 * hits / (kept + wanted.sum())
    f1 = np.where(possible & (hits / kept >= least_precision), f1, -1.0)
    best = int(f1.argmax())
    if f1[best] < 0:
        raise QualityModelError(f"no threshold reaches a precision of {least_precision:g} on the texts of calibration")
    return float((ranked[best] + ranked[min(best + 1, len(ranked) - 1)]) / 2)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def _digest(texts: Sequence[str], labels: np.ndarray) -> str:
    sha = hashlib.sha256(labels.tobytes())
    for text in texts:
        sha.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return sha.hexdigest()
