"""Which family a model folder is of: asked of its own files, before any weights are read."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ModelError
from ..control.attach import attach
from ..model_files import read_json
from ..model_folder import DiffusersConfig
from ..text.embeddings import EmbeddingStore
from .base import DiffusersPrior
from .parts import index_of
from .single_file import as_folder, notes_of

ROOM = "threestudio_like.priors"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Attributes:
        name: for people.
        place: module and class of its adapter.
        pipelines: classes that its model_index.json may name.
        denoisers: classes of its denoiser.
        parts: parts of a folder that hold its networks and tokenizers.
        marks: of them, those that no other family with such a denoiser has.
    """

    name: str
    place: str
    pipelines: tuple[str, ...]
    denoisers: tuple[str, ...]
    parts: tuple[str, ...]
    marks: tuple[str, ...] = ()

    def adapter(self) -> type[DiffusersPrior]:
        """The class that reads it."""
        module, _, name = self.place.partition(":")
        found: type[DiffusersPrior] = getattr(importlib.import_module(f"{ROOM}.{module}"), name)
        return found


_CLIP = ("text_encoder", "tokenizer")
_TWO = (*_CLIP, "text_encoder_2", "tokenizer_2")
UNET = ("UNet2DConditionModel",)
FAMILIES: dict[str, Family] = {
    "sd": Family(
        name="Stable Diffusion 1 and 2",
        place="stable_diffusion:StableDiffusionPrior",
        pipelines=("StableDiffusionPipeline", "LatentConsistencyModelPipeline"),
        denoisers=UNET,
        parts=("unet", "vae", *_CLIP),
    ),
    "sdxl": Family(
        name="Stable Diffusion XL",
        place="families.sdxl:StableDiffusionXLPrior",
        pipelines=("StableDiffusionXLPipeline",),
        denoisers=UNET,
        parts=("unet", "vae", *_TWO),
    ),
    "if": Family(
        name="DeepFloyd IF",
        place="families.deepfloyd:DeepFloydPrior",
        pipelines=("IFPipeline",),
        denoisers=UNET,
        parts=("unet", *_CLIP),
    ),
    "sd3": Family(
        name="Stable Diffusion 3",
        place="families.sd3:StableDiffusion3Prior",
        pipelines=("StableDiffusion3Pipeline",),
        denoisers=("SD3Transformer2DModel",),
        parts=("transformer", "vae", *_TWO, "text_encoder_3", "tokenizer_3"),
    ),
    "flux": Family(
        name="FLUX.1",
        place="families.flux:FluxPrior",
        pipelines=("FluxPipeline",),
        denoisers=("FluxTransformer2DModel",),
        parts=("transformer", "vae", *_TWO),
    ),
    "flux2": Family(
        name="FLUX.2",
        place="families.flux2:Flux2Prior",
        pipelines=("Flux2Pipeline", "Flux2KleinPipeline"),
        denoisers=("Flux2Transformer2DModel",),
        parts=("transformer", "vae", *_CLIP),
    ),
    "qwen-image": Family(
        name="Qwen-Image",
        place="families.qwen_image:QwenImagePrior",
        pipelines=("QwenImagePipeline",),
        denoisers=("QwenImageTransformer2DModel",),
        parts=("transformer", "vae", *_CLIP),
    ),
    "z-image": Family(
        name="Z-Image",
        place="families.z_image:ZImagePrior",
        pipelines=("ZImagePipeline",),
        denoisers=("ZImageTransformer2DModel",),
        parts=("transformer", "vae", *_CLIP),
    ),
    "pixart": Family(
        name="PixArt",
        place="families.pixart:PixArtPrior",
        pipelines=("PixArtSigmaPipeline", "PixArtAlphaPipeline"),
        denoisers=("PixArtTransformer2DModel", "Transformer2DModel"),
        parts=("transformer", "vae", *_CLIP),
    ),
    "sana": Family(
        name="Sana",
        place="families.sana:SanaPrior",
        pipelines=("SanaPipeline",),
        denoisers=("SanaTransformer2DModel",),
        parts=("transformer", "vae", *_CLIP),
    ),
    "mvdream": Family(
        name="MVDream",
        place="families.views.mvdream:MVDreamPrior",
        pipelines=("MVDreamPipeline",),
        denoisers=("MultiViewUNetModel",),
        parts=("unet", "vae", *_CLIP),
    ),
    "imagedream": Family(
        name="ImageDream",
        place="families.views.mvdream:ImageDreamPrior",
        pipelines=("MVDreamPipeline", "ImageDreamPipeline"),
        denoisers=("MultiViewUNetModel",),
        parts=("unet", "vae", *_CLIP, "image_encoder", "feature_extractor"),
    ),
    "zero123": Family(
        name="Zero123",
        place="families.views.zero123:Zero123Prior",
        pipelines=("Zero123Pipeline", "Zero1to3StableDiffusionPipeline"),
        denoisers=UNET,
        parts=("unet", "vae", "image_encoder", "clip_camera_projection", "cc_projection"),
        marks=("clip_camera_projection", "cc_projection"),
    ),
    "zero123plus": Family(
        name="Zero123++",
        place="families.views.zero123plus:Zero123PlusPrior",
        pipelines=("Zero123PlusPipeline",),
        denoisers=UNET,
        parts=(
            *("unet", "vae", *_CLIP, "vision_encoder"),
            *("feature_extractor_clip", "feature_extractor_vae"),
        ),
        marks=("vision_encoder",),
    ),
}
"""The families that can be distilled, by short names."""

REFUSED = {
    "StableDiffusionGLIGENPipeline": "wants boxes for its words (GLIGEN)",
    "StableUnCLIPPipeline": "is told a picture's embedding beside the prompt (StableUnCLIP)",
    "StableUnCLIPImg2ImgPipeline": "is told a picture's embedding beside the prompt (StableUnCLIP)",
    "StableDiffusionXLImg2ImgPipeline": "finishes pictures that another model began (a refiner)",
    "StableDiffusionInpaintPipeline": "fills masks in pictures; for compose: --inpainter",
    "StableDiffusionXLInpaintPipeline": "fills masks in pictures; for compose: --inpainter",
    "StableDiffusionUpscalePipeline": "enlarges pictures",
    "StableDiffusionLatentUpscalePipeline": "enlarges pictures",
    "StableDiffusionDepth2ImgPipeline": "wants a depth map with every picture",
    "StableDiffusionInstructPix2PixPipeline": "edits pictures",
    "IFSuperResolutionPipeline": "enlarges pictures (a later stage of DeepFloyd IF)",
    "SanaSprintPipeline": "has a trigonometric flow that is not read (Sana Sprint)",
    "FluxKontextPipeline": "edits pictures",
    "FluxFillPipeline": "fills masks in pictures",
    "QwenImageEditPipeline": "edits pictures",
    "QwenImageEditPlusPipeline": "edits pictures",
}
"""Pipelines that are no plain text-to-image model, in words."""
HARMLESS = {
    *("scheduler", "safety_checker", "feature_extractor", "watermarker", "controlnet"),
    "image_encoder",
}
"""Parts of a folder that a prediction of text to picture does not need."""


def _class_of(folder: Path, part: str) -> str:
    path = folder / part / "config.json"
    return str(read_json(path).get("_class_name", "")) if path.is_file() else ""


def _of_unet(folder: Path) -> str:
    values = read_json(folder / "unet" / "config.json")
    where, added = str(folder), values.get("addition_embed_type")
    if values.get("attention_type", "default") != "default":
        raise ModelError(
            f'its UNet wants boxes for its words (attention "{values["attention_type"]}": GLIGEN)',
            where,
            "Take a plain Stable Diffusion",
        )
    hidden = values.get("encoder_hid_dim_type")
    if hidden == "text_proj" and added == "text":
        return "if"
    if hidden is not None:
        raise ModelError(
            f'its UNet is told "{hidden}", which is no plain text (Kandinsky, IP-Adapter)', where
        )
    if added == "text_time":
        return "sdxl"
    if added is not None:
        raise ModelError(f'its UNet has an added embedding "{added}" that is not known', where)
    return "sd"


def _of_views(folder: Path, said: str, denoiser: str) -> str:
    """The family of a view-conditioned model: by its pipeline, its denoiser or, where a folder has
    no index, a part that only such models have; empty for none.

    Raises:
        ModelError: its UNet is another than its pipeline's.
    """
    views = {n: f for n, f in FAMILIES.items() if ".views." in f.place}
    several = FAMILIES["mvdream"].denoisers
    named = [n for n, f in views.items() if said in f.pipelines]
    if not named and denoiser in several:
        named = ["mvdream"]
    if not named and not said:
        named = [n for n, f in views.items() if any((folder / m).is_dir() for m in f.marks)]
    if not named:
        return ""
    wanted = views[named[0]].denoisers
    if denoiser not in wanted:
        raise ModelError(
            f'its UNet is a "{denoiser}", and {views[named[0]].name} has a {" or ".join(wanted)}',
            str(folder),
            "Its model_index.json names another model than its parts are",
        )
    if denoiser not in several:
        return named[0]
    # Both are of one class; ImageDream's UNet is told tokens of a picture.
    told = read_json(folder / "unet" / "config.json").get("ip_dim")
    return "imagedream" if told else "mvdream"


def detect(folder: Path) -> str:
    """The family's short name (`FAMILIES`) of a model folder.

    Raises:
        ModelError: it is none of them; what it is, where that is known.
    """
    index = index_of(folder)
    said = index.get("_class_name", "")
    said = str(said[-1] if isinstance(said, list) and said else said)
    if said in REFUSED:
        raise ModelError(
            f"{REFUSED[said]}: it is no plain text-to-image model",
            str(folder),
            "docs/models.md lists the models that are read",
        )
    name = ""
    if (folder / "transformer" / "config.json").is_file():
        denoiser = _class_of(folder, "transformer")
        name = next((n for n, f in FAMILIES.items() if denoiser in f.denoisers), "")
        what = f'its transformer is a "{denoiser}"'
    elif (folder / "unet" / "config.json").is_file():
        denoiser = _class_of(folder, "unet") or UNET[0]
        name = _of_views(folder, said, denoiser)
        name = name or (_of_unet(folder) if denoiser in UNET else "")
        what = f'its UNet is a "{denoiser}"'
    else:
        raise ModelError(
            'has no "unet" and no "transformer" with a configuration',
            str(folder),
            "Give a folder as diffusers saves a text-to-image model, or a .safetensors file",
        )
    if not name:
        raise ModelError(
            f"{what}, which no family has",
            str(folder),
            f"Families: {', '.join(f.name for f in FAMILIES.values())}",
        )
    family = FAMILIES[name]
    if said and said not in family.pipelines:
        raise ModelError(
            f'is a "{said}", and plain text-to-image models of {family.name} are a '
            f"{' or '.join(family.pipelines)}",
            str(folder / "model_index.json"),
            "Other pipelines are told more than a prompt",
        )
    _check_parts(folder, index, family)
    return name


def _check_parts(folder: Path, index: dict[str, Any], family: Family) -> None:
    for part, value in index.items():
        real = isinstance(value, list) and len(value) == 2 and value[1] is not None
        if part.startswith("_") or not real or part in HARMLESS:
            continue
        if part not in family.parts:
            raise ModelError(
                f'has a "{part}" ({value[1]}), which a model of {family.name} does not',
                str(folder / "model_index.json"),
                "It is told more than a prompt",
            )
        if not (folder / part).is_dir():
            raise ModelError(f'has no "{part}"', str(folder), "Download the model again, whole")


def load_folder(
    folder: Path, config: DiffusersConfig, name: str, embeddings: EmbeddingStore | None = None
) -> DiffusersPrior:
    """The prior of a model folder, or of a single file, by the adapter of its family; arguments and
    errors as of `DiffusersPrior`."""
    single = folder.is_file()
    if single:
        folder = as_folder(folder, config.tokenizer)
    family = detect(folder)
    if config.view_adapter is None:
        prior = FAMILIES[family].adapter()(folder, config, name, embeddings)
        if config.control:
            attach(prior, family)
    elif family != "sdxl":
        raise ModelError(
            f"is a model of {FAMILIES[family].name}, and MV-Adapter's is Stable Diffusion XL",
            str(folder),
            "Leave --load.view_adapter out",
        )
    else:
        from .views.mv_adapter import MVAdapterPrior

        prior = MVAdapterPrior(folder, config, name, embeddings)
    guessed = notes_of(folder) if single and config.prediction_type == "auto" else []
    prior.facts.notes = (*prior.facts.notes, *guessed, *_idle(prior, config, family, single))
    return prior


_OF_BETAS = ("beta_schedule", "beta_start", "beta_end")
_READ_BY: dict[str, tuple[str, ...]] = {
    "zero_empty": ("sdxl",),
    "clip_skip": ("sd", "sdxl", "sd3", "mvdream", "imagedream"),
    "text_layers": ("flux2",),
    "text_length": ("if", "sd3", "flux", "flux2", "qwen-image", "z-image", "pixart", "sana"),
    "pose": ("zero123",),
}
"""Options of loading that some families read alone."""


def _idle(prior: DiffusersPrior, config: DiffusersConfig, family: str, single: bool) -> list[str]:
    """Notes on options of loading (--load.…) that change nothing for a model."""
    noise = prior.scheduler.kind(str(prior.folder / "scheduler" / "scheduler_config.json"))
    why = {name: f"{FAMILIES[family].name} has none" for name in _READ_BY}
    why |= dict.fromkeys(_OF_BETAS, "the model's noise does not go by betas")
    why["shift"] = "the model's noise is no flow's"
    why["embedded_guidance"] = "the denoiser has no guidance embedding"
    why["tokenizer"] = "the model is a folder, which has its own"
    why |= dict.fromkeys(("latent_scale", "latent_shift"), "the model has no autoencoder")
    counts = {name: family in families for name, families in _READ_BY.items()}
    counts |= dict.fromkeys(_OF_BETAS, noise == "betas")
    counts["shift"] = noise == "flow"
    counts["embedded_guidance"] = prior.style() == "embedded"
    counts["tokenizer"] = single
    counts |= dict.fromkeys(("latent_scale", "latent_shift"), not prior.pixels)
    plain = DiffusersConfig()
    return [
        f"--load.{name} changes nothing: {why[name]}"
        for name, counted in counts.items()
        if not counted and getattr(config, name) != getattr(plain, name)
    ]
