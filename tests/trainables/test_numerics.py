"""What a record says of how its numbers were computed."""

from pathlib import Path

import pytest
import torch

from trainables import kernels, numerics


def test_numerics_on_a_cpu_name_torch_instructions_processor_and_kernels() -> None:
    text = numerics.numerics("cpu")
    release, instructions = torch.__version__.partition("+")[0], torch.backends.cpu.get_cpu_capability().lower()
    assert text == f"torch {release} cpu {instructions} {numerics.processor()} kernels {kernels.VERSION}"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"numerics": "a"}, "a", "a"),
        ({"numerics": "a"}, "b", "a then b"),
        ({"numerics": "a then b"}, "b", "a then b"),
        ({"numerics": "a then b"}, "a", "a then b then a"),
        ({}, "a", "not recorded then a"),
    ],
)
def test_continued_names_each_numerics_that_a_record_has_gone_through(
    before: dict[str, str], now: str, expected: str
) -> None:
    assert numerics.continued(before | {"device": "cpu"}, {"numerics": now}) == {"device": "cpu", "numerics": expected}


@pytest.mark.parametrize(
    ("flags", "native"), [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16", True), ("fpu avx512f", False)]
)
def test_has_native_bf16_where_the_processor_has_the_instructions(
    flags: str, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A Processor\nflags\t\t: {flags}\n")
    monkeypatch.setattr(numerics, "CPUINFO", tmp_path / "cpuinfo")
    assert numerics.has_native_bf16() is native
    assert numerics.processor() == "A Processor"


def test_has_native_bf16_is_false_where_flags_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "CPUINFO", tmp_path / "absent")
    assert numerics.has_native_bf16() is False
