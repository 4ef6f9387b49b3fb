"""Whatever a YAML file holds, it is a study or one readable line: never a traceback, never code that is run."""

from __future__ import annotations

import contextlib
import copy
import re
import string
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study import spec
from study.cli import app
from study.cost import core_hours
from study.plan import Plan
from study.run import launch
from study.runfolder import write_run
from study.spec import SpecError, StudySpec
from study.tables.build import build
from tests.support import tiny
from trainables.schema import Replicate, TrialConfig
from trainables.storage import Folder

settings.register_profile("study", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("study")

KEYS = [*StudySpec.model_fields, *TrialConfig.model_fields, "sedes", "latent", "__class__"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 10**9, 10**18, 10**400, -1]),
    st.floats(),
    st.text(max_size=20),
    st.dates(date(1900, 1, 1)),
    st.binary(max_size=8),
    st.sampled_from(
        ["mnist", "strokes", "elu", "vae", "pca", "train", "sigmoid", "../../etc", "/", "a/b", "[red]x[/]"]
    ),
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | SCALARS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(st.sampled_from(list(TrialConfig.model_fields)), SCALARS | st.lists(SCALARS, max_size=3))
NAMES = st.text(string.ascii_lowercase + "-_./\\~ \n\0é", min_size=1, max_size=80)


def study_or_line(text: str) -> StudySpec | None:
    """The spec with all its cells, or None and a readable line."""
    study, refused = None, "here"
    try:
        study = spec.parse(text, "here")
        if study.cell_count < 200:
            _ = Plan(study).cells
    except SpecError as error:
        study, refused = None, str(error)
    assert "here" in refused or "study" in refused
    assert "\n" not in refused and len(refused) < 2_000
    return study


def check(text: str) -> None:
    study = study_or_line(text)
    if study is not None and study.cell_count < 200:
        assert spec.parse(spec.dump(study), "again") == study
        assert Path(launch.run_path(study.name)).parent == Path("runs")
        digests = dict.fromkeys(Plan(study).datasets, "")
        plan = Plan(study, digests).replicates
        assert all(re.fullmatch("[0-9a-f]{16}", replicate.hash) for replicate in plan[:20])
        assert min(core_hours(replicate.config) for replicate in plan[:20]) >= 0
        if len(plan) <= 20:
            with tempfile.TemporaryDirectory() as folder:
                write_run(Folder(folder), study, {"data_digests": digests})
                assert build(Folder(folder)).results["replicate"].nunique() == len(plan)


@given(st.text())
def test_any_text_is_a_study_or_one_line(text: str) -> None:
    check(text)


@given(st.text(alphabet=" \n\t-:[]{}&*!|>'\"%#?,ab1.~", max_size=60))
def test_any_yaml_punctuation_is_a_study_or_one_line(text: str) -> None:
    check(text)


@given(NESTED)
def test_any_yaml_document_is_a_study_or_one_line(document: Any) -> None:
    check(yaml.safe_dump(document))


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional={"base": FIELDS, "grid": NESTED, "seeds": SCALARS, "title": SCALARS}), FIELDS)
def test_any_change_of_a_good_study_is_a_study_or_one_line(changes: dict[str, Any], arm: dict[str, Any]) -> None:
    good = yaml.safe_load(tiny.SPEC) | {"base": {"dataset": "strokes"}}
    check(yaml.safe_dump(good | changes | {"arms": {"changed": arm, "linear": {}}}))


@settings(max_examples=300)
@given(st.sampled_from([f for f in TrialConfig.model_fields if f != "dataset"]), SCALARS)
def test_any_value_of_one_field_is_a_study_or_one_line(field: str, value: Any) -> None:
    good = yaml.safe_load(tiny.SPEC) | {"base": {"dataset": "strokes"}, "arms": {"one": {field: value}}}
    check(yaml.safe_dump(good))


@given(NAMES)
def test_any_name_stays_in_the_runs_folder(name: str) -> None:
    check(yaml.safe_dump({"name": name, "arms": {"a": {}}}))


@given(st.lists(st.tuples(st.integers(0, len(tiny.SPEC)), st.characters()), min_size=1, max_size=6))
def test_any_characters_typed_into_a_good_study_give_a_study_or_one_line(typed: list[tuple[int, str]]) -> None:
    text = tiny.SPEC.replace("dataset: tiny", "dataset: strokes")
    for place, character in typed:
        text = text[:place] + character + text[place:]
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {canary}']",
        "name: !!python/name:os.system\narms: {{a: {{}}}}",
        "name: a\narms: {{a: {{model: !!python/object/new:os.system [touch {canary}]}}}}",
        'name: a\narms: {{a: {{model: \'__import__("os").system("touch {canary}")\'}}}}',
        "name: a\narms: {{a: {{dataset: 'os:system'}}}}",
    ],
)
def test_code_in_a_spec_is_refused_and_not_run(text: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    assert study_or_line(text.format(canary=canary)) is None
    assert not canary.exists()


def test_aliases_that_would_fill_the_memory_are_refused() -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb = "\n".join(["l0: &l0 [lol]", *levels])
    with pytest.raises(SpecError, match="aliases"):
        spec.parse(f"name: a\narms: {{a: {{}}}}\n{bomb}", "here")


@pytest.mark.parametrize("text", ["[" * 10_000, "{a: " * 5_000, "- " * 5_000, "seeds: " + "9" * 10_000])
def test_deep_or_long_documents_are_refused(text: str) -> None:
    assert study_or_line(text) is None


LABELS = st.text(max_size=20) | st.sampled_from(["[red]x", "[/]", ":smile:", "[link=x]", "\ud800", "\x1b[31m"])
SHOWN = st.fixed_dictionaries(
    {"name": st.just("a"), "arms": st.dictionaries(LABELS, st.just({}), min_size=1, max_size=2)},
    optional={"title": LABELS, "question": LABELS},
)


@given(st.binary(max_size=80) | SHOWN.map(lambda document: yaml.safe_dump(document).encode(errors="surrogatepass")))
def test_any_file_given_to_the_command_ends_with_a_code_and_no_traceback(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.yaml"
        path.write_bytes(content)
        patch.setattr(sys, "argv", ["study", "show", str(path)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
    assert exit_.value.code in (0, 2)


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "/dev/zero", "~nobody/x.yaml", "x" * 5_000, "..", "é.yaml"])
def test_any_study_name_on_the_command_line_ends_with_code_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "show", name])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_replicate_hash_of_any_cell_label_is_hex() -> None:
    assert Replicate("../../x", TrialConfig(), 0, "").hash == Replicate("y", TrialConfig(), 0, "").hash


SEARCHED = {
    "objectives": ["val_nll"],
    "trials": 3,
    "scheduler": "asha",
    "first_rung": 1,
    "space": {"l2": {"low": 0.0, "high": 1.0}, "beta": [0.5, {"low": 1, "high": 2, "log": True}], "model": "vae"},
}
SEARCH_PATHS: list[tuple[Any, ...]] = [
    (),
    *((key,) for key in SEARCHED),
    ("space", "l2"),
    ("space", "l2", "low"),
    ("space", "l2", "high"),
]
SEARCH_PATHS += [("space", "beta"), ("space", "beta", 1), ("space", "model"), ("seed",), ("sampler",), ("asked",)]


@given(st.sampled_from(SEARCH_PATHS), NESTED)
@settings(max_examples=300)
def test_any_change_of_a_search_is_a_study_or_one_line(path: tuple[Any, ...], value: Any) -> None:
    base = {"name": "hunt", "base": {"steps": 9, "evaluations": 9}, "search": copy.deepcopy(SEARCHED)}
    target: Any = base
    for key in ("search", *path)[:-1]:
        target = target[key]
    target[("search", *path)[-1]] = value
    study = study_or_line(yaml.safe_dump(base))
    if study is not None:
        with contextlib.suppress(SpecError):
            Plan(study).check()
