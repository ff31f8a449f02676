"""What a run of the data engine may say; read with :func:`vlm.recipe.load_recipe`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pretrain.cleaning.rules import Kind
from pretrain.deidentify.options import Options
from pretrain.formats import Format
from vlm.recipe import RecipeModel

Identity = Literal["deidentify", "removed", "public", "simulated"]


class SourceSection(RecipeModel):
    """One source of records.

    Attributes:
        path: folder, table or data set, as ``medvlm data import`` takes it.
        identity: ``deidentify`` (identities are in it and the engine removes them first), ``removed`` (somebody has),
            ``public`` (published text), ``simulated``. There is no default: nobody else can know.
        name: default the last part of the path; unique among the sources.
        format, map, reports, images, config, group, passage: as the options of ``medvlm data import``.
        licence: kept with every sample.
        kind: what the texts are, where the source cannot tell; decides which rules they are held to.
    """

    path: str
    identity: Identity
    name: str | None = None
    format: Format = Format.auto
    map: dict[str, str] = Field(default_factory=dict)
    reports: str | None = None
    images: str | None = None
    config: str | None = None
    group: bool = True
    passage: int | None = Field(default=None, ge=200)
    licence: str = "unknown"
    kind: Kind | None = None


class DeidentifySection(RecipeModel):
    """How identities are removed (docs/deidentify.md).

    Attributes:
        key: key file, made where it is missing; never inside the output.
        names: text file with names of persons and places, one a line.
        columns: what columns of tables hold, as {"befund": "text"}.
        options: of the profile, as {"dates": "shift", "keep_device": true}.
    """

    key: str
    names: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    def profile(self) -> Options:
        """The options of the profile, checked."""
        return Options(**self.options)

    @model_validator(mode="after")
    def _known(self) -> "DeidentifySection":
        unknown = sorted(set(self.options) - set(Options.__dataclass_fields__))
        if unknown:
            raise ValueError(f"no option {', '.join(unknown)}; there are {', '.join(Options.__dataclass_fields__)}")
        return self


class QualitySection(RecipeModel):
    """A trained quality classifier (``medvlm data quality train``): which texts it judges and from what it keeps.

    ``threshold`` null takes the one that the classifier was calibrated to.
    """

    model: str
    threshold: float | None = Field(default=None, ge=0, le=1)
    kinds: tuple[Kind, ...] = ("article", "caption")


class CleanSection(RecipeModel):
    """Normalisation and rules; a text that breaks a rule costs its record, counted by the rule's name.

    ``allow`` names rules that are not held.
    """

    normalise: bool = True
    rules: bool = True
    allow: tuple[str, ...] = ()
    quality: QualitySection | None = None


class DedupSection(RecipeModel):
    """Duplicates (docs/dedup.md): Jaccard from which texts are near-duplicates, and whether images are compared."""

    text: float | None = Field(default=0.8, gt=0, le=1)
    images: bool = True


class WeightsSection(RecipeModel):
    """Entity-driven sampling (docs/sampling.md)."""

    exponent: float = Field(default=0.5, ge=0, le=1)
    cap: float = Field(default=8.0, ge=1)
    floor: float = Field(default=0.25, gt=0, le=1)


class ShardsSection(RecipeModel):
    """The shards that are written, as the options of ``medvlm data import``."""

    conversation: Literal["report", "questions", "both"] = "both"
    max_questions: int = Field(default=8, ge=1)
    max_images: int = Field(default=8, ge=1)
    megabytes: int = Field(default=256, ge=1)
    samples: int = Field(default=1000, ge=1)


class EngineRecipe(RecipeModel):
    """A run of the data engine.

    Attributes:
        name: of the data set that comes out.
        sources: what goes in.
        tree: folder of ``medvlm met build``; null leaves samples untagged.
        split: shares by patient of sources without splits of their own. Records that share a patient, a study or an
            image go to one split.
        decontaminate: manifests of benchmarks (``medvlm data decontaminate manifest``); what matches is dropped.
        max_drop: share of the records that one stage may drop before the run stops.
        part: records of one part, the unit of work and of resuming.
    """

    name: str
    sources: list[SourceSection] = Field(min_length=1)
    tree: str | None = None
    deidentify: DeidentifySection | None = None
    clean: CleanSection = CleanSection()
    dedup: DedupSection | None = DedupSection()
    decontaminate: list[str] = Field(default_factory=list)
    split: dict[str, float] = Field(default_factory=lambda: {"train": 0.9, "val": 0.1})
    weights: WeightsSection | None = WeightsSection()
    shards: ShardsSection = ShardsSection()
    max_drop: float = Field(default=0.5, ge=0, le=1)
    part: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> "EngineRecipe":
        names = [source_name(source) for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}: give them different names")
        if any(source.identity == "deidentify" for source in self.sources) and self.deidentify is None:
            raise ValueError("a source asks to be de-identified: add the section deidentify with a key file")
        if min(self.split.values(), default=0) < 0 or sum(self.split.values()) <= 0:
            raise ValueError(f"split must hold shares >= 0, at least one above 0: {self.split}")
        return self


def source_name(source: SourceSection) -> str:
    """The name under which a source's records are counted."""
    return source.name or source.path.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
