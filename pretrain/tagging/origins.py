"""What all origins together say of one sample: its source, its labels, its text and the headers of its images.

Shards are tagged record by record (``shards.py``), the engine tags studies before they are records; both end here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree
from pretrain.tagging.headers import Facts, HeaderTagger
from pretrain.tagging.labels import LabelMap, Statement
from pretrain.tagging.tags import Tag, Tagging, combine


class Origins:
    """Tags by what the source gave and what headers say, and the record of all tags together.

    The tree is read when the first of them is asked for: text alone needs the tagger only.

    Args:
        folder: of the tree.
        tagger: over the same tree.
        mapping: file in which people say what labels stand for, or None.
        count_unmapped: names of the source that nothing explains are counted instead of refused.
    """

    def __init__(self, folder: Path, tagger: Tagger, mapping: Path | None = None, count_unmapped: bool = False):
        self.folder, self.tagger, self.mapping, self.count_unmapped = folder, tagger, mapping, count_unmapped

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.folder)

    @cached_property
    def _given(self) -> LabelMap:
        return LabelMap(self.tree, "simulated", self.mapping, self.count_unmapped)

    @cached_property
    def _headers(self) -> HeaderTagger:
        return HeaderTagger(self.tree, self.tagger)

    def given(self, names: Sequence[str], extra: Mapping[str, Any], where: str) -> Iterator[Tag]:
        """Entities that the source gave, by id or by a name that the mapping knows; truth that denies as well.

        Raises:
            LabelError: a name that nothing explains, unless ``count_unmapped``.
        """
        truth = extra.get("truth")
        findings = truth.get("findings") if isinstance(truth, Mapping) else None
        if isinstance(findings, Mapping):
            stated: list[Statement] = [(str(n), "present" if there else "negated") for n, there in findings.items()]
            yield from self._given.tags(stated, where)
        elif names:
            unknown = [name for name in names if name not in self.tree]
            yield from self._given.tags([(name, "present") for name in unknown], where)
        for name in names:
            if name in self.tree:
                yield Tag(self.tree[name].id, "given", "present", name)

    @property
    def unmapped(self) -> Counter[str]:
        """Names of the sources so far that nothing explains."""
        return self._given.unmapped if "_given" in self.__dict__ else Counter()

    def headers(self, images: Iterable[Facts], unmapped: Counter[str]) -> tuple[list[Tag], list[str], list[str]]:
        """Tags of all images; view and side of each, "" where unknown.

        Args:
            images: facts of each image, {} where there are none.
            unmapped: gains what was not understood.
        """
        tags, views, sides = set(), [], []
        for facts in images:
            if not facts:
                views.append("")
                sides.append("")
                continue
            said = self._headers(facts)
            tags.update(said.tags)
            unmapped.update(said.unmapped)
            views.append(said.view)
            sides.append(said.side)
        return sorted(tags), views, sides


def record_of(given: Sequence[str], tags: Iterable[Tag], views: list[str], sides: list[str]) -> tuple[Tagging, dict]:
    """What the tags make of a sample, and the whole of it for ``extra["tags"]``."""
    tagging = combine(tags)
    return tagging, {"given": list(given), **tagging.record, "views": views, "sides": sides}
