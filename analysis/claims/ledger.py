"""The claim ledger: what the paper says and, written down before the study runs, how each claim is decided.

`ledger.yaml`, or a file of one's own, is read into frozen models that refuse an unknown key, metric, field, arm or kind
of test. The kinds:

    difference    one arm's value exceeds (or is below) another's by more than a margin
    log10_ratio   the same of the logarithm of the ratio
    threshold     an arm's value is above (or below) a number, or another value of the same arm
    equivalence   two arms' values, or a value and a number, are the same within a margin
    interaction   two arms' difference is the same, within a margin, at each N as at a reference N
    rate          the share of trials that diverge or collapse is lower in one arm than in another
    curves        a statistic of several arms' loss curves is above (or below) a number
    told_apart    a classifier tells more (or less) often than a share of the time which arm has drawn an image
    reach         the N at which one arm's loss comes down to another arm's is above a number
    dimension     the verdict of `analysis.dimension.estimate` on one estimate of the latent dimension
    control       what such an estimate returns where the dimension is known lies within a tolerance of it
    not_measured  nothing that a study records can decide it; the reason is kept
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from analysis.claims.value import Entry, Value, exactly_one
from study import plain_yaml
from study.plain_yaml import YamlError
from study.spec import readable
from trainables.errors import ReadableError
from trainables.registry import unknown
from trainables.schema import TrialConfig, applies

READING_FIELDS = ("output", "init", "grad_clip", "l2", "weight_dropout")
"""Config fields that the paper leaves open; a reading of the paper is a value for each."""
BUDGET_FIELDS = ("steps", "sample_size")
"""Not matched between arms, unless named: the one that most seeds of all arms have is used, and stated."""
UNMATCHED_FIELDS = (*BUDGET_FIELDS, "evaluations")
"""`evaluations` changes how often a trial is looked at, and not what it becomes."""
FLOAT32 = ("fp32", "tf32")
"""Arms of either precision count as the same: they end some hundredths of a nat apart (docs/speed.md)."""
RULES = {"all": "All of its tests must be confirmed", "split": "Where its tests disagree, each is told apart"}
"""The text of each `rule`, for a reader."""

Direction = Literal["greater", "less"]
Fields: TypeAlias = dict[str, Any]


class LedgerError(ReadableError):
    """A ledger that cannot be read; its text is one readable line."""


def _all_readings(given: Any) -> Any:
    return {True: READING_FIELDS, False: ()}[given] if isinstance(given, bool) else given


class _Part(Entry):
    """The keys of all parts of a claim.

    `main`: whether it decides, or is only reported; `where`: config fields of all arms, if they apply and an arm does
    not name them itself; `steps`: the training steps that the rule asks for; `cells`: which cells of its studies would
    do, a pattern for `study launch --cells`.
    """

    name: str
    main: bool = True
    where: Fields = Field(default_factory=dict)
    studies: tuple[str, ...] = ()
    cells: str = ""
    steps: int | None = Field(None, ge=1)
    unit: str = ""
    why: str = Field("", description="what a margin was chosen by")

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms that it uses."""
        pairs: tuple[tuple[str, str], ...] = getattr(self, "pairs", ())
        return (*getattr(self, "arms", ()), *(arm for pair in pairs for arm in pair))


class _OfValues(_Part):
    """Tests of numbers of one arm, or of pairs of arms matched in every other config field and by seed.

    `by`: a config field; a test for each of its values, or of those `between` two, both included. `readings`: the
    fields of READING_FIELDS that are left free, a test for each reading in the tables; true for all of them. A field
    that an arm names is not free in that arm. `least`: how many values of `by` must have been measured.
    """

    value: Value
    pairs: tuple[tuple[str, str], ...] = ()
    arms: tuple[str, ...] = ()
    by: str | None = None
    between: tuple[float, float] | None = None
    least: int = Field(1, ge=1)
    readings: Annotated[tuple[str, ...], BeforeValidator(_all_readings)] = ()

    @model_validator(mode="after")
    def _check_fields(self) -> _OfValues:
        for field in self.readings:
            if field not in READING_FIELDS:
                raise ValueError(unknown(field, READING_FIELDS, what="readings"))
        if self.by is not None and self.by not in TrialConfig.model_fields:
            raise ValueError(unknown(self.by, TrialConfig.model_fields, what="by"))
        if self.between is not None and self.by is None:
            raise ValueError(f"`by` must name the field of `between`, but got none in part {self.name!r}.")
        exactly_one(f"part {self.name!r}", {"pairs": self.pairs or None, "arms": self.arms or None})
        return self


class _Directed(_OfValues):
    """`direction: greater` claims that the effect is above `margin`, `less` that it is below; margins have a sign."""

    direction: Direction
    margin: float = 0.0
    beside: tuple[float, ...] = Field((), description="further margins, whose verdicts are reported")


class Difference(_Directed):
    """First arm of the pair minus the second."""

    kind: Literal["difference"]
    pairs: tuple[tuple[str, str], ...]


class Log10Ratio(_Directed):
    """log10 of the first arm's value over the second's."""

    kind: Literal["log10_ratio"]
    pairs: tuple[tuple[str, str], ...]


class Threshold(_Directed):
    """An arm's value, or what it exceeds another value of the same replicate by (`against`)."""

    kind: Literal["threshold"]
    arms: tuple[str, ...]
    against: Value | None = None


class Equivalence(_OfValues):
    """Two one-sided tests: of a pair's difference, or of a value of `arms` minus `target`.

    `against`: the value that is subtracted, of the pair's second arm or of the same replicate, if it is another one.
    `beside_excess`: margins as shares of the second arm's loss above the floor, whose verdicts are reported.
    """

    kind: Literal["equivalence"]
    margin: float = Field(gt=0)
    target: float | None = None
    against: Value | None = None
    beside_excess: tuple[float, ...] = ()


class Interaction(_OfValues):
    """A pair's difference at each value of `by` minus its difference at `reference`: two one-sided tests."""

    kind: Literal["interaction"]
    pairs: tuple[tuple[str, str], ...]
    by: str
    reference: int
    margin: float = Field(gt=0)


class Rate(_Part):
    """Share of trials that diverge or collapse, first arm minus second, over all values of the fields in `over`."""

    kind: Literal["rate"]
    pairs: tuple[tuple[str, str], ...]
    over: tuple[str, ...]
    direction: Direction
    margin: float = 0.0


class Curves(_Part):
    """A statistic of the curves of all `arms`, over the evaluations after the share `after` of the run.

    mean_gap, largest_gap: of the seed-mean curves, from the lowest to the highest arm at an evaluation; least_lead: the
    share of evaluations at which the arm that leads least often is the lowest of its seed. `apart`: each arm is read at
    another seed, so that no two have seen the same batches, as networks that are trained one by one; what noise alone
    predicts stands beside.
    """

    kind: Literal["curves"]
    arms: tuple[str, ...] = Field(min_length=2)
    metric: str
    statistic: Literal["mean_gap", "largest_gap", "least_lead"]
    after: float = Field(ge=0, lt=1)
    apart: bool = False
    direction: Direction
    margin: float


class ToldApart(_Part):
    """Share of test images of which a classifier tells, of two arms' reconstructions, which is the first arm's.

    This is psychophysics' two-alternative forced choice: the share is 0.5 by chance, and 0.75 is its usual threshold.
    The classifier learns from other seeds and other images than those that it is asked about.
    """

    kind: Literal["told_apart"]
    pairs: tuple[tuple[str, str], ...]
    direction: Direction
    margin: float
    beside: tuple[float, ...] = ()


class Reach(_Part):
    """The latent dimension, interpolated in log N, at which arm `curve` comes down to arm `goal`, or `within` so far.

    `goal_at`: the N of the goal; without it the two are compared at each N.
    """

    kind: Literal["reach"]
    curve: str
    goal: str
    goal_at: int | None = None
    within: float = Field(0.0, ge=0)
    value: Value
    direction: Direction
    margin: float
    beside: tuple[float, ...] = ()

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms that it uses."""
        return self.curve, self.goal


class Dimension(_Part):
    """A verdict of the module that estimates the latent dimension, by the estimate's key."""

    kind: Literal["dimension"]
    key: str


class Control(_Part):
    """An estimate of the dimension of data whose dimension is known: its interval lies within `tolerance` of it."""

    kind: Literal["control"]
    estimator: str
    dataset: str
    tolerance: float = Field(gt=0)


class NotMeasured(_Part):
    """Part of a claim that no study's data can decide; it never counts, and is never forgotten."""

    kind: Literal["not_measured"]
    main: Literal[False] = False
    reason: str


DirectedPart: TypeAlias = Difference | Log10Ratio | Threshold | Rate | Curves | ToldApart | Reach
EquivalencePart: TypeAlias = Equivalence | Interaction
TestedPart: TypeAlias = DirectedPart | EquivalencePart
Part = Annotated[TestedPart | Dimension | Control | NotMeasured, Field(discriminator="kind")]


class Claim(Entry):
    """A claim of the paper and the rule that decides it.

    `rule`: of its main parts, `all` must be confirmed and one that is refuted refutes it; `split` reports each by
    itself where they disagree. `family`: within it, and within one reading, p values are adjusted (Holm). `history`:
    what was changed in its test after the data had been seen, and why.
    """

    id: str = Field(pattern=r"^C[0-9]+$")
    section: str
    statement: str
    test: str
    history: str = ""
    family: str
    studies: tuple[str, ...] = Field(min_length=1)
    rule: Literal["all", "split"]
    parts: tuple[Part, ...] = Field(min_length=1)

    @property
    def tested(self) -> str:
        """The test and what was changed in it, for a reader."""
        return f"{self.test} {self.history}".rstrip()

    def studies_of(self, part: _Part) -> tuple[str, ...]:
        """The studies that feed a part of it."""
        return part.studies or self.studies

    def commands_of(self, part: _Part) -> str:
        """The commands whose tables decide a part of it, for a reader."""
        options = f" --cells '{part.cells}'" if part.cells else ""
        return ", ".join(f"`study launch {study}{options}`" for study in self.studies_of(part))


class Erratum(Entry):
    """An error or a gap in the paper, printed beside the verdicts."""

    section: str
    paper: str
    correct: str


class Ledger(Entry):
    """The claims, the arms that they compare (TrialConfig fields by name), and the paper's errata.

    `history` says of each version when it was written, in which commit, and what it changed; or it is empty.
    """

    version: int = Field(ge=1)
    history: tuple[str, ...] = ()
    arms: dict[str, Fields]
    claims: tuple[Claim, ...]
    errata: tuple[Erratum, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Ledger:
        if self.history and len(self.history) != self.version:
            raise ValueError(f"`history` must have {self.version} entries, one a version, but has {len(self.history)}.")
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) != len(ids):
            raise ValueError(f"`id` must be given once, but got {ids}.")
        for name in self.arms:
            self.arm(name, {})
        for claim in self.claims:
            names = [part.name for part in claim.parts]
            if len(set(names)) != len(names):
                raise ValueError(f"`name` must be given once in {claim.id}, but got {names}.")
            if not any(part.main for part in claim.parts):
                raise ValueError(f"`main` must be true of a part of {claim.id}, but it is of none.")
            for part in claim.parts:
                for name in part.arm_names:
                    if name not in self.arms:
                        raise ValueError(f"{claim.id}: {unknown(name, self.arms, what='arm')}")
                    self.arm(name, part.where)
        return self

    def arm(self, name: str, where: Mapping[str, Any]) -> TrialConfig:
        """The config of an arm, with those fields of `where` that apply to it and that it does not name itself."""
        own = self.arms[name]
        for field in where:
            if field not in TrialConfig.model_fields:
                raise ValueError(unknown(field, TrialConfig.model_fields, what="field of where"))
        applicable = applies({**where, **own})
        return TrialConfig(**{key: value for key, value in where.items() if key in applicable} | own)


@cache
def load() -> Ledger:
    """The ledger of this version; raises LedgerError."""
    return parse(files("analysis.claims").joinpath("ledger.yaml").read_text(encoding="utf-8"))


def parse(text: str, source: str = "the ledger") -> Ledger:
    """Reads a ledger's YAML; raises LedgerError naming `source`."""
    try:
        return Ledger.model_validate(plain_yaml.read(text, truths={"main", "readings", "excess", "drawn", "apart"}))
    except ValidationError as error:
        raise LedgerError(f"{source}: {readable(error)}") from None
    except (YamlError, RecursionError) as error:
        raise LedgerError(f"{source} is no valid YAML: {error}") from None
