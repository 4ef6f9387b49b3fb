"""Names what decides the last bits of a number beside a replicate's config: torch, the processor, the kernels.

Two rows with the same numerics were computed alike (docs/numerics.md).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
NATIVE_BF16 = ("avx512_bf16", "amx_bf16")
"""Flags of a processor, as Linux names them, that multiplies matrices of bf16 without emulating it."""


def numerics(device: str) -> str:
    """The numerics of training alone on a device: "cpu" or a CUDA device. Loads torch."""
    import torch

    from trainables import kernels

    release = torch.__version__.partition("+")[0]
    if device != "cpu":
        return (
            f"torch {release} cuda {torch.version.cuda} {torch.cuda.get_device_name(device)} kernels {kernels.VERSION}"
        )
    instructions = torch.backends.cpu.get_cpu_capability().lower()
    return f"torch {release} cpu {instructions} {processor()} kernels {kernels.VERSION}"


def continued(provenance: Mapping[str, Any], stamp: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a record that another attempt goes on with; one of other numerics adds its own.

    Args:
        provenance: The record's, of the attempts before.
        stamp: That of this attempt.
    """
    before, now = str(provenance.get("numerics", "not recorded")), str(stamp.get("numerics", "not recorded"))
    parts = before.split(" then ")
    return {**provenance, "numerics": before if now == parts[-1] else " then ".join([*parts, now])}


def processor() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor()


def has_native_bf16() -> bool:
    """Whether this machine's processor multiplies bf16 faster than float32."""
    return not set(NATIVE_BF16).isdisjoint(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    """The first processor's value of a key of Linux' cpuinfo; empty on another system."""
    lines = CPUINFO.read_text(errors="replace").splitlines() if CPUINFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
