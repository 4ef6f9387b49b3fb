"""A study's spec, read from YAML: its cells and seeds, and its search. Frozen; unknown keys are refused."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from study import plain_yaml
from study.plain_yaml import YamlError
from study.searchspace import SearchSpec
from trainables.errors import ReadableError
from trainables.images.source import ImageSource, is_path, name_of
from trainables.numerics import has_native_bf16
from trainables.registry import CURVES, MEASUREMENTS, PluginError, is_taken, load_plugins, register, unknown
from trainables.schema import TrialConfig, applies, check_keys
from trainables.shape import Size

MOST_CELLS, MOST_REPLICATES = 100_000, 1_000_000
"""How many cells and replicates a study may have."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SPECS = files("study") / "specs"
_MAX_BYTES = 1_000_000
_MAX_NAME = 200
_ARMS = "arms"
"""The key of a grid that is no field: the arms that it is for."""
SAMPLED = 0.8
"""The share of the training images that a fitted sample holds at most, so that each seed draws others."""


class SpecError(ReadableError):
    """A spec that is absent, or that cannot be read or run."""


class StudySpec(BaseModel):
    """A study: arms crossed with a grid, and a search; each cell trained with seeds 0 ... seeds - 1.

    `base` holds the fields that the arms share, `arms` each arm's own, `grid` the values to sweep per field: a list of
    values, or one value. Several grids, as a list, are run one after another, so that a field may take another value
    in a part of a sweep. A field of `base` or `grid` that does not apply to an arm (beta to an auto-encoder, steps to
    PCA) is left out for it; one that the arm itself names must apply. The key `arms` of a grid names the arms that it
    is for, where it is not for all. A `dataset` may be the path of one's own images: it becomes a name, and the path
    goes under `data`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="lower-case letters, digits, - and _; also the default run folder's name")
    title: str = Field("", description="one line")
    question: str = Field("", description="what the study answers")
    seeds: int = Field(1, ge=1, le=1000, description="replicates of each trained cell")
    measurements: list[str] = Field(
        default_factory=list, description="names in MEASUREMENTS and CURVES: what is measured of each trained network"
    )
    base: dict[str, Any] = Field(default_factory=dict, description="TrialConfig fields of every arm")
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict, description="TrialConfig fields by arm")
    grid: dict[str, Any] | list[dict[str, Any]] = Field(
        default_factory=dict,
        description="values by TrialConfig field, a list of them or one; or several such grids, each with its `arms`",
    )
    data: dict[str, ImageSource] = Field(
        default_factory=dict, description="one's own images by the name that `dataset` has for them: path and options"
    )
    fit: bool = Field(
        False,
        description="whether values of N above the pixels are left out, and samples leave out a fifth of the images",
    )
    allow_bf16: bool = Field(
        False, description="whether `study launch --precision auto` may train in bf16, a few hundredths of a nat off"
    )
    search: SearchSpec | None = Field(None, description="what is searched for beside the arms, and how")
    plugins: list[str] = Field(
        default_factory=list, description="modules to import, which add one's own models and the like to the registries"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            what = "an empty file" if given is None else type(given).__name__
            raise ValueError(f"a spec must be a mapping of keys to values, but got {what}.")
        check_keys({str(key): None for key in given}, cls.model_fields, what="key")
        return _with_names(given)

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"`name` must match {_NAME.pattern}, but got {self.name!r}.")
        if not self.arms and self.search is None:
            raise ValueError("a study must have `arms` or a `search`, but got neither.")
        swept = [("grid", self.fields_of(grid)) for grid in self.grids]
        for place, keys in [("base", self.base), *swept, *self.arms.items()]:
            check_keys(keys, TrialConfig.model_fields, what=f"field of {place}")
        for name in self.measurements:
            if name not in MEASUREMENTS | CURVES:
                raise ValueError(unknown(name, MEASUREMENTS | CURVES, what="measurements"))
        if not self.grids:
            raise ValueError("`grid` must hold at least one grid, but got an empty list.")
        for field, values in itertools.chain.from_iterable(grid.items() for grid in self.grids):
            if values == []:
                raise ValueError(f"`grid` must give {field} at least one value, but got an empty list.")
        for arm in itertools.chain.from_iterable(map(self.arms_of, self.grids)):
            if not isinstance(arm, str) or arm not in self.arms:
                raise ValueError(unknown(str(arm), self.arms, what="arms of grid"))
        self._check_size()
        return self

    def _check_size(self) -> None:
        for arm in self.arms:
            if not arm.strip() or not arm.isprintable() or len(arm) > _MAX_NAME:
                raise ValueError(f"an arm's name must be 1 to {_MAX_NAME} printable characters, but got {arm!r:.220}.")
        cells = self.cell_count + (0 if self.search is None else self.search.trials)
        if cells > MOST_CELLS:
            raise ValueError(f"`arms x grid + trials <= {MOST_CELLS:,}` must hold, but got {cells:,} cells.")
        if cells * self.seeds > MOST_REPLICATES:
            raise ValueError(f"`cells x seeds <= {MOST_REPLICATES:,}` must hold, but got {cells * self.seeds:,}.")

    @property
    def cell_count(self) -> int:
        """An upper bound: arms times grid points, before cells that turn out alike are merged."""

        def points(grid: Mapping[str, Any]) -> int:
            return math.prod(len(values) for values in self.fields_of(grid).values() if isinstance(values, list))

        return sum(len(self.arms_of(grid)) * points(grid) for grid in self.grids)

    def arms_of(self, grid: Mapping[str, Any]) -> list[str]:
        """The arms that a grid is for: those that its key `arms` names, else all."""
        named = grid.get(_ARMS, list(self.arms))
        return named if isinstance(named, list) else [named]

    @staticmethod
    def fields_of(grid: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a grid by TrialConfig field."""
        return {field: values for field, values in grid.items() if field != _ARMS}

    def with_keys(self, **keys: Any) -> StudySpec:
        """Replaces keys of the spec, and validates it like one that was written so; raises SpecError."""
        try:
            return StudySpec.model_validate(self.model_dump() | keys)
        except ValidationError as error:
            raise SpecError(f"study {self.name}: {readable(error)}") from None

    def with_changes(
        self,
        *,
        steps: int | None = None,
        precision: str | None = None,
        dataset: str | None = None,
        reading: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        trials: int | None = None,
    ) -> StudySpec:
        """Changes a study as the options of the command line do; None leaves it as it is.

        `steps`, `precision` and `dataset`, a name or a path, hold for every arm, grid point and trial (the precision
        "auto" is that of `automatic_precision`), `reading` (fields of an
        ImageSource) for images by their path, `seeds` for every cell, `trials` for the search.

        Raises:
            SpecError: A change breaks a rule of specs, or there is no search that `trials` could change.
        """
        dataset, source = image_source(dataset, reading or {})
        if precision == "auto":
            precision, _ = self.automatic_precision
        given = {"steps": steps, "precision": precision, "dataset": dataset}
        fields = {key: value for key, value in given.items() if value is not None}

        def others(former: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in former.items() if key not in fields}

        keys: dict[str, Any] = {"base": self.base | fields, "grid": list(map(others, self.grids))}
        keys["arms"] = {arm: others(own) for arm, own in self.arms.items()}
        if dataset is not None:
            keys["data"] = {} if source is None else {dataset: source.model_dump()}
        if seeds is not None:
            keys["seeds"] = seeds
        if self.search is not None:
            keys["search"] = self.search.model_dump() | {"space": others(self.search.space)}
        if trials is not None:
            if self.search is None:
                raise SpecError(f"`--trials` is for a study with a search, but {self.name} has none.")
            keys["search"] |= {"trials": trials}
        return self.with_keys(**keys)

    @property
    def automatic_precision(self) -> tuple[str, str]:
        """The precision for networks of this study on this machine, bf16 or fp32, and the reason in words."""
        if not self.allow_bf16:
            return "fp32", f"the spec of {self.name} does not say `allow_bf16: true`"
        if not has_native_bf16():
            return "fp32", "this processor has no bf16"
        return "bf16", "this processor has it, and the spec allows it"

    def fitted(self, sizes: Mapping[str, Size]) -> StudySpec:
        """Leaves out what data of these sizes do not have, by dataset: see `fit`; without it, the spec itself."""
        if not self.fit or not sizes:
            return self
        images = min(size.train for size in sizes.values())
        most = max(1, int(SAMPLED * images))
        widest = min(images - 1, *(size.shape.pixels for size in sizes.values()))

        def fit(fields: Mapping[str, Any]) -> dict[str, Any]:
            dims, samples = fields.get("latent_dim"), fields.get("sample_size")
            changed = dict(fields)
            if isinstance(dims, list):
                changed["latent_dim"] = [n for n in dims if n <= widest] or [max(1, widest)]
            if isinstance(samples, list):
                changed["sample_size"] = list(dict.fromkeys(min(n, most) for n in samples))
            elif samples is not None:
                changed["sample_size"] = min(samples, most)
            return changed

        base, usual = dict(self.base), TrialConfig.model_fields["sample_size"].default
        if usual > most and any(own.get("task") == "intrinsic_dimension" for own in (base, *self.arms.values())):
            base.setdefault("sample_size", usual)
        arms = {arm: fit(own) for arm, own in self.arms.items()}
        return self.with_keys(base=fit(base), arms=arms, grid=list(map(fit, self.grids)))

    def with_asked(self, asked: list[dict[str, Any]]) -> StudySpec:
        """Returns the study with these trials as drawn by its search; a study without a search stays."""
        if self.search is None:
            return self
        return self.model_copy(update={"search": self.search.model_copy(update={"asked": asked})})

    @property
    def final_measurements(self) -> list[str]:
        """Measurements of the trained network, which can be made later while its weights exist."""
        return [name for name in self.measurements if name in MEASUREMENTS]

    @property
    def grids(self) -> list[dict[str, Any]]:
        """The grid, or the grids, as a list."""
        return [self.grid] if isinstance(self.grid, dict) else self.grid


def image_source(dataset: str | None, reading: Mapping[str, Any]) -> tuple[str | None, ImageSource | None]:
    """A dataset's name, from its name or its path, and where it is read from if that is a path.

    Args:
        dataset: A name or a path; None for what a spec names.
        reading: Fields of an ImageSource beside the path.

    Raises:
        SpecError: There is no path that `reading` could be for, or one of its values breaks a rule.
    """
    data: dict[str, Any] = {}
    name = _name(dataset, data)
    if name in data:
        try:
            return name, ImageSource(**data[name], **reading)
        except ValidationError as error:
            raise SpecError(readable(error)) from None
    if reading:
        raise SpecError(f"`{next(iter(reading))}` is for images by their path: give that as the dataset.")
    return name, None


def _with_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a spec with a name for each path of images, which goes under `data`; registers the names."""
    if not isinstance(given.get("data", {}), Mapping):
        return dict(given)
    keys, data = dict(given), dict(given.get("data", {}))
    for name in data:
        if not isinstance(name, str) or name_of(f"{name}/") != name or is_taken("DATASETS", name):
            raise ValueError(
                f"`data` must give images a new name, of letters, digits, '-', '_' and '.', but got {name!r}."
            )

    def named(fields: Any) -> Any:
        if not isinstance(fields, Mapping) or "dataset" not in fields:
            return fields
        value = fields["dataset"]
        new = [_name(one, data) for one in value] if isinstance(value, list) else _name(value, data)
        return {**fields, "dataset": new}

    keys["base"] = named(keys.get("base", {}))
    if isinstance(arms := keys.get("arms"), Mapping):
        keys["arms"] = {arm: named(own) for arm, own in arms.items()}
    if "grid" in keys:
        keys["grid"] = list(map(named, keys["grid"])) if isinstance(keys["grid"], list) else named(keys["grid"])
    if isinstance(search := keys.get("search"), Mapping):
        keys["search"] = {**search, "space": named(search.get("space"))}
    register({"DATASETS": dict.fromkeys(data, "")})
    return keys | {"data": data}


def _name(dataset: Any, data: dict[str, Any]) -> Any:
    """The name of a dataset; of a path a new one, under which `data` gets the path."""
    if not isinstance(dataset, str) or dataset in data or is_taken("DATASETS", dataset) or not is_path(dataset):
        return dataset
    home = os.path.expanduser("~")
    path = f"~{dataset.removeprefix(home)}" if dataset.startswith(f"{home}/") else dataset
    name = name_of(dataset)
    if is_taken("DATASETS", name):
        name += "-images"
    if data.setdefault(name, {"path": path}) != {"path": path}:
        raise ValueError(f"`data` must have one {name!r}, but {path} would be another: name it otherwise under `data`.")
    return name


def names() -> list[str]:
    """Names of the built-in studies."""
    return sorted(path.name.removesuffix(".yaml") for path in _SPECS.iterdir() if path.name.endswith(".yaml"))


def load(name_or_path: str) -> StudySpec:
    """Loads a built-in study by name, or a spec from a YAML file.

    Raises:
        SpecError: No such study or file, not YAML, or not a valid spec.
    """
    if name_or_path in names():
        return parse((_SPECS / f"{name_or_path}.yaml").read_text(encoding="utf-8"), name_or_path)
    path = Path(name_or_path).expanduser()
    try:
        if not path.is_file():
            if path.suffix in (".yaml", ".yml"):
                raise SpecError(f"{path} cannot be read: there is no such file.")
            raise SpecError(unknown(name_or_path, names(), what="study") + " A path to a spec ends in .yaml.")
        if path.stat().st_size > _MAX_BYTES:
            raise SpecError(f"{path} must be smaller than {_MAX_BYTES:,} bytes to be a spec.")
        return parse(path.read_text(encoding="utf-8"), str(path))
    except SpecError:
        raise
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path that holds a null byte
        raise SpecError(f"{name_or_path!r} cannot be read: {error}") from None


def parse(text: str, source: str, *, plugins: bool = True) -> StudySpec:
    """Parses a spec's YAML (safe_load), and imports its plugins first; raises SpecError naming `source`.

    Args:
        text: The YAML.
        source: Where it is from.
        plugins: Whether to import the spec's plugins; else the names that they add must be registered already.
    """
    try:
        given = plain_yaml.read(text, truths={"log", "fit", "grey", "allow_bf16"})
        named = given.get("plugins") if plugins and isinstance(given, Mapping) else None
        load_plugins(name for name in (named if isinstance(named, list) else []) if isinstance(name, str))
        return StudySpec.model_validate(given)
    except PluginError as error:
        raise SpecError(f"{source}: {error}") from None
    except ValidationError as error:
        raise SpecError(f"{source}: {readable(error)}") from None
    except (YamlError, RecursionError) as error:
        raise SpecError(f"{source} is no valid YAML of a spec: {error}") from None


def dump(spec: StudySpec) -> str:
    """The spec as YAML that `parse` reads back."""
    return plain_yaml.write(spec.model_dump(mode="json"))


def resolve(spec: StudySpec, arm: str, point: Mapping[str, Any]) -> TrialConfig:
    """The TrialConfig of an arm at a grid point.

    Raises:
        SpecError: The fields do not make a valid config; the cell is named.
    """
    return _config({**spec.base, **point}, spec.arms[arm], f"study {spec.name}, arm {arm!r}")


def resolve_trial(spec: StudySpec, fields: Mapping[str, Any]) -> TrialConfig:
    """The TrialConfig of a search's trial with these fields; raises SpecError."""
    shown = ", ".join(f"{key}={value}" for key, value in fields.items())
    return _config(spec.base, fields, f"study {spec.name}, search, {shown}")


def _config(shared: Mapping[str, Any], own: Mapping[str, Any], where: str) -> TrialConfig:
    applicable = applies({**shared, **own})
    try:
        return TrialConfig(**{**{key: value for key, value in shared.items() if key in applicable}, **own})
    except ValidationError as error:
        raise SpecError(f"{where}: {readable(error)}") from None


def readable(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: where, the rule, and the value."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))  # dict[str,any]: a type of several
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{where}: {message}" if where else message
    value = problem["input"]
    shown = "nothing" if problem["type"] == "missing" else f"{value!r:.200}"
    message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}, but got {shown}."
    return f"`{where}`: {message}" if where else message
