"""What the model sees: the real image, a blank one, another patient's, or none.

All arms ask the same questions, so that they can be compared item by item. A score that does not fall when the
image is taken away was not read from the image.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from bench.errors import DataError
from bench.items import Item, Picture

Arm = Literal["real", "blank", "shuffled", "text"]
ARMS: tuple[Arm, ...] = ("real", "blank", "shuffled", "text")
ARM_NAMES: dict[str, str] = {
    "real": "real image",
    "blank": "blank image",
    "shuffled": "another patient's image",
    "text": "no image",
}


def derange(owners: Sequence[str], seed: int, what: str = "images") -> list[int]:
    """A permutation p in which image p[i] never belongs to the owner of image i.

    Images are put in a random order with each owner's together, and turned round by the largest owner's count.

    Raises:
        DataError: when one owner holds more than half of them, so that no such permutation exists.
    """
    if not owners:
        return []
    rng = random.Random(seed)
    largest = max(Counter(owners).values())
    if 2 * largest > len(owners):
        raise DataError(
            f"cannot shuffle {len(owners)} {what}: one patient has {largest} of them, and every image needs one of"
            " another patient in its place. Measure more patients, or leave out the arm 'shuffled'."
        )
    rank = {owner: rng.random() for owner in sorted(set(owners))}
    order = sorted(range(len(owners)), key=lambda i: (rank[owners[i]], owners[i], rng.random()))
    out = [0] * len(owners)
    for place, i in enumerate(order):
        out[i] = order[(place + largest) % len(order)]
    return out


def shuffle_strata(items: Sequence[Item]) -> dict[str, list[Picture]]:
    """The images that are asked about, by view: the groups within which images are exchanged.

    A view too rare to be exchanged within (one patient has more than half of it) joins the largest other one; the
    name of that group then lists both.
    """
    strata: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted({p for item in items for p in item.images}, key=lambda p: str(p.path)):
        strata[picture.view].append(picture)
    while len(strata) > 1:
        rare = [view for view in sorted(strata) if not _can_exchange(strata[view])]
        if not rare:
            break
        largest = max((view for view in strata if view != rare[0]), key=lambda view: (len(strata[view]), view))
        strata[f"{largest}+{rare[0]}"] = strata.pop(largest) + strata.pop(rare[0])
    return dict(sorted(strata.items()))


def _can_exchange(pictures: Sequence[Picture]) -> bool:
    return 2 * max(Counter(p.patient for p in pictures).values()) <= len(pictures)


def shuffled_pictures(items: Sequence[Item], seed: int) -> dict[Picture, Picture]:
    """For every image that is asked about, the image of another patient in the same view (see `shuffle_strata`).

    Raises:
        DataError: when no such exchange exists.
    """
    swap: dict[Picture, Picture] = {}
    for view, pictures in shuffle_strata(items).items():
        places = derange([picture.patient for picture in pictures], seed, f"images of view {view}")
        swap.update({picture: pictures[place] for picture, place in zip(pictures, places, strict=True)})
    return swap
