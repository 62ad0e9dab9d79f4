"""Text, images and meshes to 3D assets, by optimisation against pretrained priors.

What the command line does, the functions here do, with the same options, the same checks and the
same
bytes. Every piece is usable alone: priors, representations, renderers, guidances.

Example:
    >>> import threestudio_like as tsl
    >>> tsl.generate("a red chair", seed=1).asset.save("chair.glb")      # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .commands.api import (
        compose,
        evaluate,
        export,
        generate,
        load_prior,
        open_run,
        reconstruct,
        refine,
        resume,
        texture,
    )
    from .engine.errors import (
        CheckpointError,
        CollapseError,
        ConfigError,
        ExportError,
        InputError,
        MemoryShortage,
        ModelError,
        OutputError,
        RankError,
        UserError,
        VocabularyError,
    )
    from .engine.random import RandomStream
    from .engine.schedule import Schedule
    from .guidance import (
        Guidance,
        GuidanceInputs,
        GuidanceOutput,
        ScoreDistillation,
        ScoreDistillationConfig,
    )
    from .meshes.mesh import Asset, Material, Mesh
    from .priors.diffusion import DiffusionPrior
    from .renderers import (
        Cameras,
        RandomBackground,
        RingCameras,
        StratifiedCameras,
        UniformCameras,
        VolumeConfig,
        VolumeRenderer,
    )
    from .representations import (
        Field,
        HashGridConfig,
        HashGridField,
        Representation,
        TriplaneConfig,
        TriplaneField,
        VoxelField,
        VoxelGridConfig,
    )
    from .runs.delivery import RunResult
    from .runs.options import (
        AssetOptions,
        KnownOptions,
        MicrobatchOptions,
        PriorOptions,
        RunOptions,
    )
    from .stages.field_to_mesh import field_to_asset
    from .systems.image_to_3d.cisp import CispReconstruction
    from .systems.image_to_3d.field_optimisation import PictureOptimisation
    from .systems.image_to_3d.g3dr import G3drReconstruction
    from .systems.image_to_3d.relief.reconstruction import ReliefReconstruction
    from .systems.scene.comboverse import Comboverse
    from .systems.text_to_3d.dreamfusion import DreamFusion
    from .systems.text_to_3d.latent_nerf import LatentNerf
    from .systems.text_to_3d.rgb_refinement import RgbRefinement
    from .systems.texturing.latent_paint import LatentPaint

_PLACES = {
    "commands.api": (
        *("compose", "evaluate", "export", "generate", "load_prior", "open_run"),
        *("reconstruct", "refine", "resume", "texture"),
    ),
    "engine.errors": (
        *("CheckpointError", "CollapseError", "ConfigError", "ExportError", "InputError"),
        *("MemoryShortage", "ModelError", "OutputError", "RankError", "UserError"),
        "VocabularyError",
    ),
    "engine.random": ("RandomStream",),
    "engine.schedule": ("Schedule",),
    "guidance": (
        *("Guidance", "GuidanceInputs", "GuidanceOutput"),
        *("ScoreDistillation", "ScoreDistillationConfig"),
    ),
    "meshes.mesh": ("Asset", "Material", "Mesh"),
    "priors.diffusion": ("DiffusionPrior",),
    "renderers": (
        *("Cameras", "RandomBackground", "RingCameras", "StratifiedCameras", "UniformCameras"),
        *("VolumeConfig", "VolumeRenderer"),
    ),
    "representations": (
        *("Field", "HashGridConfig", "HashGridField", "Representation", "TriplaneConfig"),
        *("TriplaneField", "VoxelField", "VoxelGridConfig"),
    ),
    "runs.delivery": ("RunResult",),
    "runs.options": (
        *("AssetOptions", "KnownOptions", "MicrobatchOptions", "PriorOptions", "RunOptions"),
    ),
    "stages.field_to_mesh": ("field_to_asset",),
    "systems.image_to_3d.cisp": ("CispReconstruction",),
    "systems.image_to_3d.field_optimisation": ("PictureOptimisation",),
    "systems.image_to_3d.g3dr": ("G3drReconstruction",),
    "systems.image_to_3d.relief.reconstruction": ("ReliefReconstruction",),
    "systems.scene.comboverse": ("Comboverse",),
    "systems.text_to_3d.dreamfusion": ("DreamFusion",),
    "systems.text_to_3d.latent_nerf": ("LatentNerf",),
    "systems.text_to_3d.rgb_refinement": ("RgbRefinement",),
    "systems.texturing.latent_paint": ("LatentPaint",),
}
"""Module -> the public names that it holds; imported when they are asked for."""
_HOME = {name: module for module, names in _PLACES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
