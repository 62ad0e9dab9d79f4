"""Compile every Triton kernel ahead for GPUs of two generations; none is needed for that. Prints
registers, spills and seconds.

Run: python benchmarks/triton_compile.py     (needs Triton: part of CUDA builds of torch on Linux,
    else pip install triton)
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tables import publish, table

from threestudio_like.kernels import dispatch
from threestudio_like.kernels.cases import CASES

GENERATIONS = (80, 90)
"""Compute capabilities: A100 and RTX 30 (80, 86), H100 and H200 (90)."""
_TYPES = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}


def kind(value: Any) -> str:
    """Triton's name of an argument's type."""
    if isinstance(value, torch.Tensor):
        return _TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


class Recorder:
    """Stands in for Triton's launcher: keeps the kernels that were asked for, with their types and
    constants."""

    def __init__(self) -> None:
        self.found: dict[tuple, tuple[Any, dict[str, str], dict[str, Any], int]] = {}

    def __call__(
        self, function: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any
    ) -> None:
        signature, constants = {}, {}
        for parameter, value in zip(function.params, arguments, strict=True):
            if parameter.is_constexpr:
                signature[parameter.name], constants[parameter.name] = "constexpr", value
            else:
                signature[parameter.name] = kind(value)
        warps = options.get("num_warps", 4)
        variants = [constants]
        if "WRITE" in constants:
            # Nothing was counted, so that nothing would be written.
            variants = [{**constants, "WRITE": write} for write in (False, True)]
        for constants in variants:
            key = (
                function.__name__,
                *sorted((k, str(v)) for k, v in {**signature, **constants}.items()),
            )
            self.found[key] = (function, signature, constants, warps)


def resources(ptx: str, capability: int) -> tuple[int, int]:
    """Registers a thread and spilled bytes, as the assembler says."""
    from triton.backends.nvidia.compiler import get_ptxas

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        architecture = f"sm_{capability}{'a' if capability >= 90 else ''}"
        said = subprocess.run(
            [
                get_ptxas(capability).path,
                "-v",
                f"--gpu-name={architecture}",
                str(source),
                "-o",
                str(Path(folder) / "out"),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    registers = max(int(n) for n in re.findall(r"Used (\d+) registers", said))
    return registers, sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", said))


def main() -> int:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    recorder = Recorder()
    JITFunction.run = lambda self, *a, **k: recorder(self, *a, **k)
    dispatch.choose("reference")
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        for operation, case in CASES.items():
            for backend in dispatch.BACKENDS[operation]:
                if backend.kind == "triton":
                    # Results are whatever the memory holds: only the launches count.
                    case.call(dispatch.load(backend), case.make(operation == "field_mlp"))
    rows, failed = [], 0
    for function, signature, constants, warps in recorder.found.values():
        flags = ", ".join(k.lower() for k, v in constants.items() if v is True)
        row = [function.__name__.lstrip("_"), flags]
        began = time.perf_counter()
        for capability in GENERATIONS:
            try:
                source = ASTSource(function, signature, constants)
                made = triton.compile(
                    source, GPUTarget("cuda", capability, 32), {"num_warps": warps}
                )
                registers, spilled = resources(made.asm["ptx"], capability)
                row += [str(registers), str(spilled), f"{made.metadata.shared / 1024:.1f}"]
            except Exception as problem:
                failed += 1
                print(function.__name__, constants, "\n", str(problem)[-1500:])
                row += ["failed", "", ""]
        rows.append([*row, f"{time.perf_counter() - began:.1f}"])
    heads = [
        f"{what} sm_{c}"
        for c in GENERATIONS
        for what in ("registers", "spilled bytes", "shared KB")
    ]
    text = table(["kernel", "flags", *heads, "seconds"], rows)
    if not failed:
        body = (
            f"{len(rows)} kernels, Triton {triton.__version__}; no GPU is needed to compile. "
            f"Flags: what a kernel was specialised for.\n\n{text}"
        )
        publish(
            "triton_compile",
            "Triton's kernels, compiled ahead",
            "python benchmarks/triton_compile.py",
            body,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
