"""Text in a picture, found and read by PP-OCRv6 (rapidocr, ONNX). It runs on this machine; nothing is fetched."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from pretrain.deidentify.errors import SettingsError

# What the detector is shown: the whole picture at a longest side of 960 (small ones enlarged, for letters of ten
# pixels are the rule in ultrasound) and of 480 (for letters as large as a hand), and of large pictures tiles of their
# own size.
_WHOLE, _SMALL, _MAX_ENLARGE = 960, 480, 2.0
_TILE, _OVERLAP = 640, 128
_LEAST_TO_TILE = 700
# A box's mean probability. The default of 0.5 loses short lines whose middle the detector is sure of, and below 0.33
# the noise of nine real pictures made six times as many boxes. Lower boxes than 7 pixels cannot be read.
_BOX, _LOWEST = 0.33, 7.0


@dataclass(frozen=True)
class Found:
    """A piece of text in a picture.

    Attributes:
        box: (4, 2) corners as x, y in pixels of the picture, clockwise.
        text: as read in the orientation that read best.
        score: how sure the reader is, 0 to 1.
        seen: how sure the detector is, 0 to 1: mean probability in the box.
    """

    box: np.ndarray
    text: str
    score: float
    seen: float

    @property
    def letters(self) -> int:
        """How many letters and digits were read."""
        return sum(c.isalnum() for c in self.text)


class Finder(Protocol):
    """Anything that finds text."""

    def find(self, picture: np.ndarray, tiles: bool = True) -> list[Found]:
        """Text in an (H, W, 3) uint8 picture; of a large one also tile by tile, where small text is found."""
        ...


def check_installed() -> None:
    """Raises SettingsError where rapidocr or onnxruntime is not installed."""
    if find_spec("rapidocr") is None or find_spec("onnxruntime") is None:
        raise SettingsError(
            "text in pixels is found with rapidocr and onnxruntime, which are not installed: "
            "pip install 'medvlm[deidentify]', or give --no-ocr to leave pixels unsearched"
        )


class RapidFinder:
    """PP-OCRv6 small detection and recognition out of the rapidocr wheel.

    Args:
        threads: of onnxruntime.

    Raises:
        SettingsError: rapidocr or onnxruntime is not installed.
    """

    def __init__(self, threads: int = 1):
        check_installed()
        from rapidocr import RapidOCR

        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,  # upside-down text is met by reading every piece four ways
                "Global.use_vertical_padding": False,
                "Det.box_thresh": _BOX,
                "Det.limit_type": "max",  # the picture is scaled here
                "Det.limit_side_len": 4096,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL + 1)
        self._engine._load_det_model()  # rapidocr is pinned: its parts are used one by one

    def find(self, picture: np.ndarray, tiles: bool = True) -> list[Found]:
        """See :class:`Finder`. Boxes of several sizes of the picture may overlap."""
        height, width = picture.shape[:2]
        longest = max(height, width)
        found = self._at(picture, min(_MAX_ENLARGE, _WHOLE / longest), 0, 0)
        if longest > _SMALL:
            found += self._at(picture, _SMALL / longest, 0, 0)
        if tiles and longest > _LEAST_TO_TILE:
            for top in _starts(height):
                for left in _starts(width):
                    tile = picture[top : top + _TILE, left : left + _TILE]
                    if int(tile.max()) - int(tile.min()) > 8:
                        found += self._at(tile, 1.0, left, top)
        return found

    def _at(self, picture: np.ndarray, factor: float, left: int, top: int) -> list[Found]:
        import cv2

        if factor != 1.0:
            size = (max(32, round(picture.shape[1] * factor)), max(32, round(picture.shape[0] * factor)))
            way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
            scaled = cv2.resize(picture, size, interpolation=way)
        else:
            scaled = picture
        scale = np.array([picture.shape[1] / scaled.shape[1], picture.shape[0] / scaled.shape[0]])
        boxes, seen = self._detect(scaled)
        crops = self._engine.crop_text_regions(scaled, boxes)
        corners = [np.asarray(box, np.float64) * scale + (left, top) for box in boxes]
        return [Found(corner, *read, p) for corner, read, p in zip(corners, self._read(crops), seen)]

    def _detect(self, picture: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """Boxes with their probabilities; rapidocr 3.10 itself sorts the boxes and leaves the probabilities behind."""
        detector = self._engine.text_det
        batch = detector.get_preprocess()(picture)
        found, seen = detector.postprocess_op(detector.session(batch), picture.shape[:2])
        boxes = np.asarray(found, np.float32).reshape(-1, 4, 2)
        tall = [i for i, box in enumerate(boxes) if box_height(box) >= _LOWEST]
        return boxes[tall], [float(seen[i]) for i in tall]

    def _read(self, crops: list[np.ndarray]) -> list[tuple[str, float]]:
        """Each piece upright; those not read well also upside down and mirrored (film markers)."""
        best = self._recognise(crops)
        again = [i for i, (text, score) in enumerate(best) if score < 0.9 or not text.strip()]
        for turn in (lambda c: c[::-1, ::-1], lambda c: c[:, ::-1], lambda c: c[::-1]):
            if not again:
                break
            for i, read in zip(again, self._recognise([np.ascontiguousarray(turn(crops[i])) for i in again])):
                if read[1] > best[i][1] and read[0].strip():
                    best[i] = read
        return best

    def _recognise(self, crops: list[np.ndarray]) -> list[tuple[str, float]]:
        if not crops:
            return []
        result = self._engine.recognize_txt(crops)
        return [(str(text), float(score)) for text, score in zip(result.txts, result.scores)]


def box_height(box: np.ndarray) -> float:
    """The shorter side of a (4, 2) box, in pixels."""
    return float(min(np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[0] - box[3])))


def _starts(length: int) -> list[int]:
    """Where tiles begin, so that the last one ends with the picture."""
    if length <= _TILE:
        return [0]
    count = -(-(length - _OVERLAP) // (_TILE - _OVERLAP))
    return [round(i * (length - _TILE) / (count - 1)) for i in range(count)]
