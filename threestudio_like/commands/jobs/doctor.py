"""`doctor`: what works on this machine, and why not what does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from pathlib import Path
from typing import Any

from ...engine.registry import Registry, broken_files, plugin_files
from ...guidance.registry import GUIDANCES
from ...kernels.devices import default_device, described, is_main
from ...kernels.dispatch import report_backends
from ...meshes.io.formats import FORMATS
from ...priors.hub import models_folder
from ...priors.loading import PRIORS
from ...priors.registry import (
    CLIP_MODELS,
    DEPTH_MODELS,
    EMBEDDED,
    INPAINTERS,
    MODELS,
    SEGMENTERS,
    embedded_folder,
)
from ...representations.registry import REPRESENTATIONS
from ...representations.surfaces import SURFACES
from ...systems.registry import SYSTEMS
from ..registry import PLUG_IN_COMMANDS

_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "numba",
    "trimesh",
    "xatlas",
    "scikit-image",
    "fast-simplification",
    "imageio-ffmpeg",
)
_EXTRAS = {
    "triton": "kernels for GPUs: pip install '.[gpu]' in the checkout",
    "nerfacc": "kernels for GPUs: pip install '.[gpu]' in the checkout",
    "gsplat": "kernels for GPUs: pip install '.[gpu]' in the checkout",
    "tinycudann": "kernels for GPUs: pip install -r requirements/gpu.txt (needs a CUDA compiler)",
    "nvdiffrast": "kernels for GPUs: pip install -r requirements/gpu.txt (needs a CUDA compiler; "
    "its licence is non-commercial)",
    "pymeshlab": "mesh simplification: pip install '.[mesh]' in the checkout (GPL)",
    "open3d": "mesh cleaning: pip install '.[mesh]' in the checkout",
    "collada": "COLLADA files: pip install '.[formats]' in the checkout",
    "pxr": "USD files: pip install '.[usd]' in the checkout",
    "coacd": "convex pieces of rigid bodies: pip install '.[physics]' in the checkout",
    "DracoPy": "glTF with Draco: pip install '.[compression]' in the checkout",
    "meshoptimizer": "glTF with meshopt: pip install '.[compression]' in the checkout",
    "open_clip": "CLIP models by open_clip: pip install '.[clip]' in the checkout",
}
"""What is not needed: by the name that is imported, what it is for."""


def examine() -> dict[str, Any]:
    """Findings by section; every section is a list of {"name", "state", "detail"}."""
    import torch

    machine = [
        {"name": "python", "state": "ok", "detail": platform.python_version()},
        {"name": "cores for torch", "state": "ok", "detail": str(torch.get_num_threads())},
        _bfloat16(),
        _accelerator(),
        {
            "name": "free disk",
            "state": "ok",
            "detail": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB here",
        },
    ]
    packages = []
    for name in _PACKAGES:
        try:
            packages.append(
                {"name": name, "state": "ok", "detail": importlib.metadata.version(name)}
            )
        except importlib.metadata.PackageNotFoundError:
            packages.append(
                {"name": name, "state": "missing", "detail": "install the package again"}
            )
    packages += _torchvision()
    for name, what in _EXTRAS.items():
        there = importlib.util.find_spec(name) is not None
        packages.append(
            {"name": name, "state": "ok" if there else "not here", "detail": "" if there else what}
        )
    kernels = [
        {"name": s.operation, "state": s.selected, "detail": s.why}
        for s in report_backends(default_device())
    ]
    return {
        "machine": machine,
        "packages": packages,
        "kernels": kernels,
        "models": _models(),
        "systems": registered(SYSTEMS),
        "guidances": registered(GUIDANCES),
        "representations": registered(REPRESENTATIONS),
        "surfaces": registered(SURFACES),
        "priors": registered(PRIORS),
        "formats": registered(FORMATS),
        "commands": registered(PLUG_IN_COMMANDS),
        "plug-in files": [
            *({"name": name, "state": "ok", "detail": ""} for name in plugin_files()),
            *({"name": b.name, "state": "broken", "detail": b.reason} for b in broken_files()),
        ],
    }


def registered(registry: Registry[Any]) -> list[dict[str, str]]:
    """What a registry holds, and its plug-ins that cannot be used."""
    rows = [{"name": n, "state": "ok", "detail": e.summary} for n, e in registry.items()]
    return rows + [
        {"name": b.name, "state": "broken", "detail": b.reason} for b in registry.broken()
    ]


def _bfloat16() -> dict[str, str]:
    """Whether the processor multiplies in bfloat16, which the embedded prior's UNet uses where it
    can."""
    import torch

    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if supported is not None and supported():
        return {
            "name": "bfloat16 on the CPU",
            "state": "ok",
            "detail": "the prior runs in bfloat16",
        }
    return {
        "name": "bfloat16 on the CPU",
        "state": "not here",
        "detail": "the prior runs in float32, and a run takes up to twice as long; a second "
        "thread helps little: two runs side by side with --threads 1 do more",
    }


def _accelerator() -> dict[str, str]:
    device = default_device()
    if is_main(device):
        return {"name": "accelerator", "state": "none", "detail": "CPU is the reference device"}
    return {"name": "accelerator", "state": "ok", "detail": described(device)}


def _torchvision() -> list[dict[str, str]]:
    if importlib.util.find_spec("torchvision") is None:
        return []
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return [
            {
                "name": "torchvision",
                "state": "broken",
                "detail": f"{error}; transformers will not load: pip uninstall torchvision",
            }
        ]
    return [{"name": "torchvision", "state": "ok", "detail": "not needed"}]


def _models() -> list[dict[str, str]]:
    out = []
    for name, folder in (
        (EMBEDDED, embedded_folder("diffusion")),
        ("toybox clip", embedded_folder("clip")),
        ("toybox judge", embedded_folder("judge")),
        ("toybox cisp", embedded_folder("cisp") / "cisp"),
        ("toybox voxels", embedded_folder("cisp") / "voxels-cisp"),
        ("toybox g3dr", embedded_folder("g3dr")),
        ("toybox depth", embedded_folder("depth")),
        ("toybox perceptual", embedded_folder("perceptual")),
        ("toybox segmenter", embedded_folder("segmenter")),
        ("toybox salient", embedded_folder("salient")),
    ):
        there = any(folder.rglob("*.safetensors")) if folder.is_dir() else False
        out.append(
            {
                "name": name,
                "state": "ok" if there else "missing",
                "detail": "Apache-2.0, worldwide, embedded",
            }
        )
    for name, entry in {
        **MODELS,
        **DEPTH_MODELS,
        **CLIP_MODELS,
        **SEGMENTERS,
        **INPAINTERS,
    }.items():
        local = models_folder() / name
        out.append(
            {
                "name": name,
                "state": "ok" if local.is_dir() else "not here",
                "detail": f"{entry.licence}, {entry.territory}; mirrors: "
                f"{', '.join(entry.mirrors)}",
            }
        )
    return out


def table(findings: dict[str, Any]) -> str:
    """The findings as text, and one line that says what works now."""
    lines = []
    for section, rows in findings.items():
        lines.append(section)
        lines += [f"  {r['name']:<22}{r['state']:<13}{r['detail']}" for r in rows]
    works = all(r["state"] == "ok" for r in findings["models"][:1]) and all(
        r["state"] != "missing" for r in findings["packages"]
    )
    lines.append("")
    lines.append(
        'Works now: threestudio-like generate "a red chair"'
        if works
        else "The embedded prior cannot run: see the rows that are missing"
    )
    return "\n".join(lines)
