"""Selects the backend of an operation for each call.

The first backend that accepts the tensors of the call and has passed its self-check on their device
is used, and plain torch if there is none. The table `BACKENDS` lists the backends of each operation
in order of preference; each is a function with the signature of the reference, which is imported
when it is first selected. The preference is set by `choose` (``--kernels``) or by the environment
variable THREESTUDIO_LIKE_KERNELS:

auto       Numba on the CPU, Triton on a GPU
triton     Triton also on the CPU where its interpreter is on (TRITON_INTERPRET=1)
vendor     tiny-cuda-nn, nerfacc, nvdiffrast and gsplat where they are installed, else as auto
reference  plain torch everywhere
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .cuda import toolchain
from .devices import default_device

Kind = Literal["cpu", "triton", "vendor"]
CHOICES = ("auto", "triton", "vendor", "reference")


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    `name` is shown to the user, `kind` says where it runs, `where` is "module:function" below this
    package, and `package` is the package that it needs.
    """

    name: str
    kind: Kind
    where: str
    package: str
    tolerance: float | None = None
    """Largest error that its self-check allows, if it differs from the operation's (for half
    precision)."""


def _cpu(where: str) -> Backend:
    return Backend("cpu", "cpu", f"cpu.{where}", package="numba")


def _triton(where: str) -> Backend:
    return Backend("triton", "triton", f"cuda.{where}", package="triton")


def _vendor(name: str, package: str, function: str, tolerance: float | None = None) -> Backend:
    return Backend(
        name, "vendor", f"vendors.{package}:{function}", package=package, tolerance=tolerance
    )


BACKENDS: dict[str, tuple[Backend, ...]] = {
    "hashgrid": (
        _vendor("tiny-cuda-nn", "tinycudann", "hashgrid"),
        _triton("hashgrid:hashgrid"),
        _cpu("on_volumes:hashgrid"),
    ),
    "field_mlp": (
        _vendor("tiny-cuda-nn", "tinycudann", "field_mlp", tolerance=1e-2),
        _triton("perceptron:field_mlp"),
        _cpu("on_volumes:field_mlp"),
    ),
    "trilinear": (_triton("sampling:trilinear"), _cpu("on_volumes:trilinear")),
    "triplane": (_triton("sampling:triplane"), _cpu("on_volumes:triplane")),
    "grid_variation": (_triton("sampling:grid_variation"), _cpu("on_volumes:grid_variation")),
    "march": (
        _vendor("nerfacc", "nerfacc", "march"),
        _triton("volume:march"),
        _cpu("on_volumes:march"),
    ),
    "composite": (
        _vendor("nerfacc", "nerfacc", "composite"),
        _triton("volume:composite"),
        _cpu("on_volumes:composite"),
    ),
    "rasterize": (
        _vendor("nvdiffrast", "nvdiffrast", "rasterize"),
        _triton("raster:rasterize"),
        _cpu("on_surfaces:rasterize"),
    ),
    "project_gaussians": (_cpu("on_gaussians:project_gaussians"),),
    "splat": (
        _vendor("gsplat", "gsplat", "splat", tolerance=2e-2),
        _triton("gaussians:splat"),
        _cpu("on_gaussians:splat"),
    ),
    "peel": (_cpu("on_surfaces:peel"),),
    "interpolate": (
        _vendor("nvdiffrast", "nvdiffrast", "interpolate"),
        _triton("interpolation:interpolate"),
        _cpu("on_surfaces:interpolate"),
    ),
    "silhouette_pairs": (
        _triton("silhouettes:silhouette_pairs"),
        _cpu("on_surfaces:silhouette_pairs"),
    ),
    "antialias": (_vendor("nvdiffrast", "nvdiffrast", "antialias"),),
    "texture": (_vendor("nvdiffrast", "nvdiffrast", "texture"),),
    "nearest": (_triton("distance:nearest"), _cpu("on_trees:nearest")),
    "winding_number": (_triton("distance:winding_number"), _cpu("on_trees:winding_number")),
}


@dataclass
class Status:
    """The result of a backend's self-check on a kind of device.

    `selected` is the name of the backend, or "reference" if it failed, and `why` explains it.
    """

    operation: str
    selected: str
    why: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """How the backends of an operation are checked.

    `error(function, device)` is the largest difference from the reference, and `tolerance` its
    limit; `times(function, device)` are the seconds of the backend and of the reference.
    """

    error: Callable[[Callable[..., Any], torch.device], float]
    tolerance: float
    times: Callable[[Callable[..., Any], torch.device], tuple[float, float]]


_checks: dict[str, Check] = {}
_status: dict[tuple[str, str, str], Status] = {}
_loaded: dict[str, Callable[..., Any]] = {}
_choice: str | None = None
_lock = threading.RLock()


def register_check(operation: str, check: Check) -> None:
    """Register how the backends of an operation are checked."""
    _checks[operation] = check


def operations() -> tuple[str, ...]:
    """The operations that have backends."""
    return tuple(BACKENDS)


def choose(kernels: str) -> None:
    """Choose the preferred backends of this process: one of `CHOICES`. Raises ValueError for
    anything else."""
    global _choice
    if kernels not in CHOICES:
        raise ValueError(f'there are no kernels "{kernels}"; known: {", ".join(CHOICES)}')
    _choice = kernels


def why_not(kernels: str, device: str) -> str:
    """Why no backend of a choice can be used on a device; empty if one can, or if none is
    wanted."""
    kind = device.partition(":")[0]
    if kernels in ("auto", "reference") or (
        kernels == "triton" and kind == "cpu" and interpreted()
    ):
        return ""
    if kind != "cuda":
        return f"these kernels are for GPUs, and the device is {device}"
    wanted = {t.package for backends in BACKENDS.values() for t in backends if t.kind == kernels}
    if not any(importlib.util.find_spec(package) for package in wanted):
        return f"none of {', '.join(sorted(wanted))} is installed"
    return ""


def chosen() -> str:
    """The present choice, made by `choose` or by the environment."""
    return _choice or os.environ.get("THREESTUDIO_LIKE_KERNELS") or "auto"


def forced_reference() -> bool:
    """Whether plain torch was chosen."""
    return chosen() == "reference"


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, which accepts CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "") == "1"


def installed(backend: Backend) -> bool:
    """Whether the package of a backend is installed; nothing is imported."""
    return importlib.util.find_spec(backend.package) is not None


def candidates(operation: str, device: torch.device) -> list[Backend]:
    """The backends that can be used for an operation on a device under the present choice, best
    first."""
    choice = chosen()
    if choice == "reference":
        return []
    kinds: tuple[Kind, ...]
    if device.type == "cpu":
        kinds = ("triton", "cpu") if choice == "triton" and interpreted() else ("cpu",)
    elif device.type == "cuda":
        kinds = ("vendor", "triton") if choice == "vendor" else ("triton",)
    else:
        kinds = ()
    return [backend for kind in kinds for backend in BACKENDS[operation] if backend.kind == kind]


def select(operation: str, *tensors: torch.Tensor | None) -> Backend | None:
    """The backend for this call, which is checked at its first use.

    Returns None if plain torch has to be used: for float64, on other devices, and after a failed
    check.
    """
    device: torch.device | None = None
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            return None
        if device is not None and tensor.device != device:
            return None
        device = tensor.device
    for backend in candidates(operation, device or torch.device("cpu")):
        if (
            installed(backend)
            and check(operation, backend, device or torch.device("cpu")).selected == backend.name
        ):
            return backend
    return None


def implementation(
    operation: str, reference: Callable[..., Any], *tensors: torch.Tensor | None
) -> Callable[..., Any]:
    """The function for this call: that of the selected backend, or the reference."""
    backend = select(operation, *tensors)
    return reference if backend is None else load(backend)


def load(backend: Backend) -> Callable[..., Any]:
    """Import a backend's function."""
    known = _loaded.get(backend.where)
    if known is None:
        module, name = backend.where.split(":")
        known = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        _loaded[backend.where] = known
    return known


def check(
    operation: str, backend: Backend | None = None, device: torch.device | None = None
) -> Status:
    """Run a backend's self-check on a kind of device, once, and compile it; returns the result.

    Without `backend`, the preferred one is checked.
    """
    device = device or default_device()
    if backend is None:
        usable = [t for t in candidates(operation, device) if installed(t)]
        if not usable:
            return Status(
                operation, "reference", f'no backend serves {device.type} with kernels "{chosen()}"'
            )
        backend = usable[0]
    key = (operation, backend.name, device.type)
    known = _status.get(key)
    if known is not None:
        return known
    with _lock:
        if key in _status:
            return _status[key]
        began = time.perf_counter()
        limit = _checks[operation].tolerance if backend.tolerance is None else backend.tolerance
        try:
            if backend.kind == "triton" and not interpreted():
                toolchain.prepare()
            # The first use may be inside no_grad, but the check compares gradients.
            with torch.enable_grad():
                error = _checks[operation].error(load(backend), device)
            passed = error <= limit
            why = (
                f"self-check {'passed' if passed else 'failed'}: error {error:.1e}, limit "
                f"{limit:.0e}"
            )
        except Exception as problem:
            lack = toolchain.missing() if backend.kind == "triton" and not interpreted() else ""
            passed, why = (
                False,
                lack or f"self-check raised {type(problem).__name__}: {problem}".splitlines()[0],
            )
        status = Status(
            operation,
            backend.name if passed else "reference",
            why,
            seconds=time.perf_counter() - began,
        )
        _status[key] = status
        return status


def report_backends(device: torch.device) -> list[Status]:
    """The status of every backend of every operation on a device.

    Backends that can run are checked, and timed against plain torch on the case of the check
    (values and gradients).
    """
    report = []
    for operation, backends in BACKENDS.items():
        usable = [t.name for t in candidates(operation, device)]
        for backend in backends:
            if not installed(backend):
                report.append(
                    Status(operation, backend.name, f"{backend.package} is not installed")
                )
            elif (backend.kind == "cpu") != (device.type == "cpu"):
                report.append(
                    Status(
                        operation,
                        backend.name,
                        "for the CPU" if backend.kind == "cpu" else "for GPUs",
                    )
                )
            else:
                status = check(operation, backend, device)
                passed = status.selected == backend.name
                speed = f"; {_times(operation, backend, device)}" if passed else ""
                use = "" if backend.name in usable[:1] or not passed else "; not chosen"
                report.append(
                    Status(
                        operation, backend.name, status.why + speed + use, seconds=status.seconds
                    )
                )
    return report


def _times(operation: str, backend: Backend, device: torch.device) -> str:
    mine, theirs = _checks[operation].times(load(backend), device)
    return f"{mine * 1e3:.2f} ms, plain torch {theirs * 1e3:.2f} ms"


def warm_up(
    progress: Callable[[str, int, int], None] | None = None, device: torch.device | None = None
) -> list[Status]:
    """Compile and check the backend that would be used for every operation on a device (the CPU by
    default).

    `progress(operation, number, count)` is called before each operation.
    """
    device = device or torch.device("cpu")
    names = [name for name in BACKENDS if any(installed(t) for t in candidates(name, device))]
    result = []
    for number, operation in enumerate(names):
        if progress is not None:
            progress(operation, number, len(names))
        result.append(check(operation, None, device))
    return result
