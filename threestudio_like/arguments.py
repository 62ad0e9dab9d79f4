"""The options of every verb as dataclasses: tyro turns them into the command line, the docstrings into its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class Common:
    """Options of every verb that runs."""

    out: Path | None = None
    """Folder of the run (default: outputs/<time>-<prompt>)."""
    seed: int = 0
    """Same seed, same bytes on CPU."""
    steps: int | None = None
    """Steps of distillation in all; several stages keep their proportion."""
    resolution: int | None = None
    """Height and width of the rendering that is distilled, pixels."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    prior: str = "toybox"
    """The embedded "toybox", a model folder, a logical name (sd-1.5, sd-2.1-base, …) or a hub id."""
    preset: Literal["auto", "default", "paper"] = "auto"
    """auto: default for camera-conditioned priors, paper for the others."""
    negative: str = ""
    """Negative prompt."""
    concept: Path | None = None
    """Textual-inversion file to load: learned_embeds.safetensors or .bin."""
    embeddings: Path | None = None
    """Bundle of prompt embeddings to use instead of the text encoder."""
    save_embeddings: Path | None = None
    """Write this run's prompt embeddings as a bundle."""
    config: Path | None = None
    """A run.yaml to take values from."""
    print_config: bool = False
    """Print the configuration and stop."""
    resume: bool = False
    """Go on with the run in --out (default: outputs/latest)."""
    minutes: float | None = None
    """Time limit; schedules fit into it."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Number type of the prior. auto: bfloat16 where the CPU has it, float16 on a GPU, else float32."""
    attention_slicing: bool = False
    """Less memory for attention, slower."""
    offload: bool = False
    """Keep the prior's weights in main memory between uses (small GPUs)."""
    texture: int = 512
    """Texture size, pixels."""
    faces: int = 16000
    """Face budget of the mesh; 0 keeps all."""
    preview_seconds: float = 5.0
    """Seconds between previews in work/preview.png."""
    log_every: int = 10
    """Steps between events."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints (default: every 20 seconds)."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """Print events as JSON lines on standard output."""
    threads: int | None = None
    """CPU threads (default: all cores)."""


@dataclass
class Generate(Common):
    """Make a 3D asset of a prompt. Every value of the system's configuration is an option by its dotted name
    (--distil.guidance.scale 7); --print-config lists them."""

    prompt: tyro.conf.Positional[str] = ""
    """What to make: "a red chair"."""
    system: str = "latent-nerf"
    """latent-nerf, dreamfusion, or a plug-in's."""


@dataclass
class Refine(Common):
    """Refine a finished run in RGB: a linear layer after the latent field, distillation through the encoder."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of the run to refine."""


@dataclass
class Export:
    """Write a run's asset in other formats."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    to: tuple[str, ...] = ("glb",)
    """Formats: glb, obj, ply, stl."""
    verify: bool = False
    """Read every file back, render it and compare; a bad file is an error."""
    json: bool = False
    """Print the verdicts as JSON."""


@dataclass
class Evaluate:
    """Measure an asset: judge, CLIP, silhouettes, consistency, Janus index; with --truth also the geometry."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    prompt: str = ""
    """What the asset should show (default: the run's prompt)."""
    truth: Path | None = None
    """A mesh to compare the geometry with."""
    instances: int = 200
    """Objects of the category that the silhouettes are held against."""
    json: bool = False
    """Print the figures as JSON."""


@dataclass
class Train:
    """Train embedded priors from scratch, resumable; writes diffusers and transformers folders."""

    world: tyro.conf.Positional[Literal["toybox"]] = "toybox"
    """What to train on."""
    only: Literal["all", "vae", "diffusion", "clip", "judge"] = "all"
    """One of the networks (diffusion needs the vae)."""
    out: Path = Path("outputs/toybox-training")
    """Where checkpoints, data and finished folders go."""
    steps: int | None = None
    """Optimiser steps of each network."""
    minutes: float | None = None
    """Time limit of each network."""
    groups: int = 16000
    """Training objects, each seen from four sides."""
    workers: int = 1
    """Processes that train the diffusion model side by side."""
    seed: int = 0
    """Seed of weights, data and noise."""
    device: str = "cpu"
    """cpu or cuda."""
    resume: bool = False
    """Go on from the checkpoints in --out."""
    quiet: bool = False
    """Say nothing but errors."""


@dataclass
class Doctor:
    """Show back ends, models, licences and disk, and what works now."""

    json: bool = False
    """Print as JSON."""


@dataclass
class Vocabulary:
    """List the words that the embedded prior knows."""

    json: bool = False
    """Print as JSON."""


@dataclass
class Completion:
    """Print a shell completion script."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]] = "bash"
    """Which shell."""
