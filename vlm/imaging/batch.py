"""Many files on a few decoding children, for import."""

import select
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path

from vlm.imaging.errors import DecoderDiedError, ImagingError
from vlm.imaging.image import Limits, MedicalImage
from vlm.imaging.pool import SLOTS, Child, ChildFailure, is_spent, request_for


class _Lane:
    """One child, with the files that it was given and has not answered for."""

    def __init__(self):
        self.child = Child()
        self.waiting: deque[tuple[int, str, int]] = deque()  # place in the batch, path, request number
        self.since = 0.0


class Batch:
    """Decode files on ``workers`` children, two in flight on each, and give the answers in the order of the paths.

    A child that dies is blamed on the file it was at; the other one in flight is given to its successor.

    Args:
        workers: children.
        limits, frame, pet_units: as of :func:`vlm.imaging.read_images`.
        keep: leave the children running after a finished run, for the next one; :meth:`close` ends them.
    """

    def __init__(self, workers: int, limits: Limits, frame: int, pet_units: str, keep: bool = False):
        self.keep = keep
        self.workers, self.limits, self.frame, self.pet_units = workers, limits, frame, pet_units
        self.lanes: list[_Lane] = []
        self.done: dict[int, MedicalImage | ImagingError] = {}

    def run(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, MedicalImage | ImagingError]]:
        """See :func:`vlm.imaging.read_images`."""
        source, given = enumerate(paths), {}
        wanted = max(1, min(self.workers, len(paths))) if isinstance(paths, Sized) else self.workers
        while len(self.lanes) < wanted:  # all at once: they start side by side
            self.lanes.append(_Lane())
        place, exhausted = 0, False
        try:
            while True:
                while not exhausted and len(given) < 4 * self.workers:  # finished but not yet taken ones count
                    lane = self._roomiest()
                    item = next(source, None) if lane else None
                    if lane is None or item is None:
                        exhausted = lane is not None
                        break
                    given[item[0]] = item[1]
                    self._give(lane, item[0], str(item[1]))
                if exhausted and not given:
                    return
                if place not in self.done:
                    self._collect()
                while place in self.done:
                    yield given.pop(place), self.done.pop(place)
                    place += 1
        finally:
            if not self.keep or any(lane.waiting for lane in self.lanes):
                self.close()

    def close(self) -> None:
        """End the children."""
        for lane in self.lanes:
            lane.child.close()
        self.lanes.clear()
        self.done.clear()

    def _roomiest(self) -> _Lane | None:
        lane = min(self.lanes, key=lambda one: len(one.waiting))
        return lane if len(lane.waiting) < SLOTS else None

    def _give(self, lane: _Lane, place: int, path: str) -> None:
        lane.waiting.append((place, path, lane.child.served))
        failure = None
        try:
            request = request_for("image", path, self.limits, self.frame, self.pet_units)
            lane.child.ask(request, None, self.limits.timeout_s)
            if len(lane.waiting) == 1:
                lane.since = time.monotonic()
        except ChildFailure as error:
            failure = error
        if failure is not None:
            self._bury(lane, failure)

    def _collect(self) -> None:
        """Wait for an answer, or for the first lane whose time is up."""
        busy = [lane for lane in self.lanes if lane.waiting]
        if not busy:
            return
        wait = min(lane.since for lane in busy) + self.limits.timeout_s - time.monotonic()
        ready, _, _ = select.select([lane.child.channel for lane in busy], [], [], max(0.0, wait))
        for lane in busy:
            failure = None
            if lane.child.channel in ready:
                failure = self._take(lane)
            elif time.monotonic() - lane.since > self.limits.timeout_s:
                failure = ChildFailure("decoder_timeout", "the decoder hangs: it was stopped after its time limit")
            if failure is not None:
                self._bury(lane, failure)

    def _take(self, lane: _Lane) -> ChildFailure | None:
        place, path, number = lane.waiting[0]
        try:
            result = lane.child.answer(self.limits, time.monotonic() + self.limits.timeout_s, number)
        except ChildFailure as error:
            return error
        lane.waiting.popleft()
        lane.since = time.monotonic()
        if isinstance(result, list):
            self.done[place] = result[0]
        elif isinstance(result, ImagingError):
            self.done[place] = result.at(path)
        else:
            self.done[place] = DecoderDiedError("decoder_protocol", "the decoder answered another question", path)
        return ChildFailure("recycled", "") if is_spent(lane.child, result) else None

    def _bury(self, lane: _Lane, failure: ChildFailure) -> None:
        """Replace the lane's child; blame the file it was at, and give what waited behind to the new one."""
        lane.child.close()
        if failure.code != "recycled" and lane.waiting:
            place, path, _ = lane.waiting.popleft()
            self.done[place] = DecoderDiedError(failure.code, failure.reason, path)
        rest = list(lane.waiting)
        lane.waiting.clear()
        lane.child = Child()
        for place, path, _ in rest:
            self._give(lane, place, path)
