"""One table of what a GPU makes of this project: every kernel's backends, whole steps with priors
of full size, and a step as threestudio writes it.

Run: python benchmarks/gpu.py                               (on a GPU: under ten minutes) python
     benchmarks/gpu.py --device cpu --small          (does it run? small kernels, a tiny prior)
     python benchmarks/gpu.py --pack benchmarks/needs.zip   (packages that a bare machine with
     PyTorch lacks, to be carried there)
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import carried  # noqa: E402

carried.unpack(ROOT / "benchmarks" / "needs.zip")

import torch  # noqa: E402
from tables import publish, table  # noqa: E402

from threestudio_like.kernels import HashGridSpec, dispatch  # noqa: E402
from threestudio_like.kernels.cases import CASES, Case, cast  # noqa: E402
from threestudio_like.kernels.devices import default_device, described, synchronise  # noqa: E402

REFERENCE_SECONDS = 6.0
"""Plain torch gets no more of the clock than this, an operation: at least one run."""


def seconds_of(call: Callable[[], Any], device: torch.device, rounds: int, limit: float) -> float:
    """The median of some runs after a first one; fewer where they take longer than the limit
    together."""
    spent: list[float] = []
    for number in range(rounds + 1):
        synchronise(device)
        began = time.perf_counter()
        call()
        synchronise(device)
        passed = time.perf_counter() - began
        if number or passed > limit:
            spent.append(passed)
        if sum(spent) > limit:
            break
    return statistics.median(spent)


def bytes_in(values: Any) -> int:
    """Bytes of all tensors in nested lists and dictionaries."""
    if isinstance(values, torch.Tensor):
        return values.numel() * values.element_size()
    if isinstance(values, dict):
        values = list(values.values())
    return sum(bytes_in(v) for v in values) if isinstance(values, (list, tuple)) else 0


def products(operation: str, given: dict[str, Any]) -> float:
    """Multiplications and additions of the perceptron, forward and backward; nothing for the
    others, which move memory."""
    if operation != "field_mlp":
        return 0.0
    return 6.0 * given["x"].shape[1] * sum(w.numel() for w in given["layers"][:3])


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes."""
    size = (1 << 29) if device.type == "cuda" else (1 << 26)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_of(lambda: target.copy_(source), device, 10, 2.0)


def arithmetic(device: torch.device) -> float:
    """Float32 operations a second of a large product, at the precision that torch is set to."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / seconds_of(lambda: a @ a, device, 10, 2.0)


def kernel_rows(device: torch.device, large: bool, say: Callable[[str], None]) -> list[list[Any]]:
    """A row for every operation and backend: milliseconds, times as fast as plain torch, GB/s,
    share of the limit."""
    moved, worked = bandwidth(device), arithmetic(device)
    rows: list[list[Any]] = []
    for operation, one in CASES.items():
        try:
            rows += _rows_of(operation, one, device, large, moved, worked)
        except ImportError as missing:
            # Trees of surfaces are built by Numba, which is not carried.
            rows.append([operation, "-", str(missing), "", "", ""])
        say(f"{operation}: " + "; ".join(f"{r[1]} {r[2]}" for r in rows if r[0] == operation))
    rows.append(["copy", "torch", "-", "-", f"{moved / 1e9:.0f}", "1.00"])
    rows.append(
        ["product of matrices, float32", "torch", "-", "-", f"{worked / 1e12:.1f} TFLOP/s", "1.00"]
    )
    return rows


def _rows_of(
    operation: str, one: Case, device: torch.device, large: bool, moved: float, worked: float
) -> list[list[Any]]:
    given = cast(one.make(large), device, torch.float32)
    traffic = bytes_in(given)
    least = products(operation, given) / worked

    def row(name: str, seconds: float, plain: float) -> list[Any]:
        limit = max(traffic / moved, least)
        return [
            operation,
            name,
            f"{seconds * 1e3:.3f}",
            f"{plain / seconds:.1f}",
            f"{traffic / seconds / 1e9:.1f}",
            f"{limit / seconds:.2f}",
        ]

    out = one.call(one.reference, given)
    # Every input read once, every value and gradient written once.
    traffic += bytes_in([o.detach() for o in out])
    del out
    plain = seconds_of(lambda: one.call(one.reference, given), device, 10, REFERENCE_SECONDS)
    rows = []
    for backend in dispatch.BACKENDS[operation]:
        if (backend.kind == "cpu") != (device.type == "cpu"):
            continue
        if not dispatch.installed(backend):
            rows.append(
                [operation, backend.name, f"{backend.package} is not installed", "", "", ""]
            )
            continue
        status = dispatch.check(operation, backend, device)
        if status.selected != backend.name:
            rows.append([operation, backend.name, status.why[:80], "", "", ""])
            continue
        function = dispatch.load(backend)
        seconds = seconds_of(lambda f=function: one.call(f, given), device, 30, 4.0)  # type: ignore[misc]
        rows.append(row(backend.name, seconds, plain))
    return [*rows, row("plain torch", plain, plain)]


def step_rows(device: torch.device, small: bool, say: Callable[[str], None]) -> list[list[Any]]:
    """A row for every system and prior, and the step as threestudio writes it."""
    from eager_step import EagerLatentNerf
    from gpu_steps import SYSTEMS, WARM, in_gb, of_system
    from random_priors import UNETS, RandomPrior, build_networks

    dtype, count = ("float32", 2) if small else ("float16", 30)
    rows: list[list[Any]] = []
    for layout in ("tiny",) if small else ("sd-1.5", "sd-2.1"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = build_networks(Path(temporary), layout, getattr(torch, dtype), device)  # type: ignore[arg-type]
            prior = RandomPrior(folder, layout, dtype, str(device))  # type: ignore[arg-type]
            for name in SYSTEMS:
                found = of_system(
                    name, prior, count if name != "SSDS, ten views" else max(2, count // 5), small
                )
                rows.append(
                    [
                        name,
                        layout,
                        f"{found.rate:.2f}",
                        f"{1e3 / found.rate:.1f}",
                        f"{found.share:.2f}",
                        in_gb(found.peak),
                        in_gb(found.forecast),
                    ]
                )
                say(f"{name}, {layout}: {found.rate:.2f} steps/s")
            size = prior.facts.latent_size
            del prior
            eager = EagerLatentNerf(
                folder,
                UNETS[layout]["cross_attention_dim"],
                size,
                HashGridSpec(4, 12) if small else HashGridSpec(),
                getattr(torch, dtype),
                device,
                24 if small else 128,
            )
            for _ in range(WARM):
                eager()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            synchronise(device)
            began = time.perf_counter()
            for _ in range(count):
                eager()
            synchronise(device)
            rate = count / (time.perf_counter() - began)
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            rows.append(
                [
                    f"Latent-NeRF as threestudio writes it ({eager.made_of})",
                    layout,
                    f"{rate:.2f}",
                    f"{1e3 / rate:.1f}",
                    "-",
                    in_gb(peak),
                    "-",
                ]
            )
            say(f"eager, {layout}: {rate:.2f} steps/s")
            del eager
    return rows


def ratios(kernels: list[list[Any]], steps: list[list[Any]]) -> str:
    """What issue and design ask for, of the two tables."""

    def ms(operation: str, name: str) -> float | None:
        found = [r[2] for r in kernels if r[0] == operation and r[1] == name]
        return float(found[0]) if found and found[0].replace(".", "").isdigit() else None

    def over(*pairs: tuple[float | None, float | None]) -> str:
        if any(a is None or b is None for a, b in pairs):
            return "not measured here"
        return f"{sum(a for a, _ in pairs if a) / sum(b for _, b in pairs if b):.2f}"

    rate = {
        (r[0].split(" as ")[0] if " as " not in r[0] else "eager", r[1]): float(r[2]) for r in steps
    }
    share = {r[1]: r[4] for r in steps if r[0] == "Latent-NeRF"}
    lines = [
        [
            "hash grid: Triton over tiny-cuda-nn (goal 0.9)",
            over((ms("hashgrid", "tiny-cuda-nn"), ms("hashgrid", "triton"))),
        ],
        [
            "hash grid: Triton over plain torch (goal 50)",
            over((ms("hashgrid", "plain torch"), ms("hashgrid", "triton"))),
        ],
        [
            "rasterise and interpolate: Triton over nvdiffrast (goal 0.7)",
            over(*((ms(o, "nvdiffrast"), ms(o, "triton")) for o in ("rasterize", "interpolate"))),
        ],
    ]
    for layout, part in share.items():
        lines.append(
            [f"a Latent-NeRF step outside the UNet, {layout} (goal 0.15)", f"{1 - float(part):.2f}"]
        )
        lines.append(
            [
                f"our step over threestudio's, {layout} (goal 1.5)",
                f"{rate['Latent-NeRF', layout] / rate['eager', layout]:.2f}",
            ]
        )
    return table(["figure", "value"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=None)
    parser.add_argument(
        "--small", action="store_true", help="small kernels and a tiny prior: does it run?"
    )
    parser.add_argument(
        "--pack",
        type=Path,
        default=None,
        help="write what this run has imported beside PyTorch as an archive",
    )
    parser.add_argument("--name", default="gpu", help="of the page in docs/results; empty for none")
    options = parser.parse_args()
    device = torch.device(options.device) if options.device else default_device()
    small = options.small or options.pack is not None
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:5.0f} s] {text}", flush=True)

    say(f"{described(device) or device}, torch {torch.__version__}")
    kernels = kernel_rows(device, not small, say)
    steps = step_rows(device, small, say)
    if options.pack is not None:
        carried.pack(options.pack)
        return
    driver = getattr(torch.version, "cuda", None) or "none"
    body = (
        f"{described(device) or 'CPU'}; torch {torch.__version__}, CUDA {driver}; "
        f"{datetime.date.today()}; "
        f"{(time.perf_counter() - began) / 60:.1f} minutes.\n\n"
        "Kernels: values and gradients, medians. The limit is a copy of all inputs and "
        "results (for the perceptron, a large product), as measured "
        "in the same run.\n\n"
        + table(
            ["operation", "backend", "ms", "times plain torch", "GB/s", "share of the limit"],
            kernels,
        )
        + "\n\nSteps: the papers' configurations, random weights.\n\n"
        + table(
            ["system", "prior", "steps/s", "ms", "share of the UNet", "peak, GB", "forecast, GB"],
            steps,
        )
        + "\n\n"
        + ratios(kernels, steps)
    )
    if options.name and not options.small:
        publish(options.name, "On a GPU", "python benchmarks/gpu.py", body)
    else:
        print(body)


if __name__ == "__main__":
    main()
