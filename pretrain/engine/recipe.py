"""What a run of the data engine may say; read with :func:`vlm.recipe.load_recipe`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pretrain.alignment.checks import Limits
from pretrain.cleaning.rules import Kind
from pretrain.deidentify.options import Options
from pretrain.formats import Format
from pretrain.synthesis.questions import KINDS
from pretrain.synthesis.questions import Kind as QuestionKind
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


class ModelSection(RecipeModel):
    """A model behind an OpenAI-compatible server; the key of the server goes into MEDVLM_API_KEY.

    ``model`` has no default: what an answer is worth depends on who gave it.
    """

    url: str
    model: str


class JudgeSection(ModelSection):
    """A model that sees pictures; ``threshold`` is the support (0 to 10) from which it lets a record pass."""

    threshold: int = Field(default=6, ge=0, le=10)


class AlignSection(RecipeModel):
    """Whether image and text are usable and belong together (docs/synthesis.md): checks, then a judge.

    Attributes:
        least_side, most_aspect, least_entropy, least_sharpness, least_words, most_words, headers: limits of the
            checks (``pretrain.alignment.checks.Limits``); null leaves one out.
        judge: asked about what passes; null ends after the checks.
    """

    least_side: int | None = Limits.least_side
    most_aspect: float | None = Limits.most_aspect
    least_entropy: float | None = Limits.least_entropy
    least_sharpness: float | None = Limits.least_sharpness
    least_words: int | None = Limits.least_words
    most_words: int | None = Limits.most_words
    headers: bool = Limits.headers
    judge: JudgeSection | None = None

    def limits(self) -> Limits:
        """Those of the checks."""
        return Limits(**self.model_dump(exclude={"judge"}))


class DedupSection(RecipeModel):
    """Duplicates (docs/dedup.md): Jaccard from which texts are near-duplicates, and whether images are compared."""

    text: float | None = Field(default=0.8, gt=0, le=1)
    images: bool = True


class WeightsSection(RecipeModel):
    """Entity-driven sampling (docs/sampling.md)."""

    exponent: float = Field(default=0.5, ge=0, le=1)
    cap: float = Field(default=8.0, ge=1)
    floor: float = Field(default=0.25, gt=0, le=1)


class SynthesisSection(RecipeModel):
    """Captions and questions about the studies of the first split, as shards of their own (docs/synthesis.md).

    Attributes:
        kinds, options, most, captions, background, seed: as the options of ``medvlm data synthesize``.
        write: model that writes captions; null: fixed sentences.
        blind: model that answers without the image; null: a regression on words.
    """

    kinds: tuple[QuestionKind, ...] = KINDS
    options: int = Field(default=4, ge=2, le=8)
    most: int = Field(default=4, ge=1)
    captions: bool = True
    background: bool = True
    seed: int = 0
    write: ModelSection | None = None
    blind: ModelSection | None = None


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
    align: AlignSection | None = None
    dedup: DedupSection | None = DedupSection()
    decontaminate: list[str] = Field(default_factory=list)
    split: dict[str, float] = Field(default_factory=lambda: {"train": 0.9, "val": 0.1})
    weights: WeightsSection | None = WeightsSection()
    synthesis: SynthesisSection | None = None
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
        if self.synthesis is not None and self.tree is None:
            raise ValueError("synthesis asks about entities: name a tree (medvlm met build)")
        if min(self.split.values(), default=0) < 0 or sum(self.split.values()) <= 0:
            raise ValueError(f"split must hold shares >= 0, at least one above 0: {self.split}")
        return self


def source_name(source: SourceSection) -> str:
    """The name under which a source's records are counted."""
    return source.name or source.path.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
