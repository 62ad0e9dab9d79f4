"""Every family of models on a tiny twin with random weights: does it load, does it equal the
library's own pipeline, does it distil, and how many parameters its published models have.

    python benchmarks/model_families.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tables import publish, table

from tests import test_families as library
from tests.twins import TWINS
from threestudio_like.priors.families.detection import FAMILIES, detect
from threestudio_like.priors.families.parts import sizes_of

SMALL = {
    "representation.hash.levels": "4",
    "representation.hash.log2_size": "10",
    "renderer.samples": "16",
    "renderer.occupancy": "16",
    "texture": "64",
    "faces": "300",
    "steps": "3",
}
PUBLISHED = {
    "Stable Diffusion 1.5": ("UNet2DConditionModel", "sd15"),
    "Stable Diffusion 2.1": ("UNet2DConditionModel", "sd21"),
    "Stable Diffusion XL": ("UNet2DConditionModel", "xl"),
    "Stable Diffusion 3 medium": ("SD3Transformer2DModel", "medium"),
    "FLUX.1": ("FluxTransformer2DModel", "flux"),
    "FLUX.2": ("Flux2Transformer2DModel", ""),
    "Qwen-Image": ("QwenImageTransformer2DModel", ""),
    "Z-Image": ("ZImageTransformer2DModel", ""),
}


def distils(folder: Path, out: Path, size: int) -> str:
    """Whether three steps through the command line end well."""
    line = [sys.executable, "-m", "threestudio_like", "generate", "a red chair", "--quiet"]
    line += ["--prior", str(folder), "--out", str(out), "--load.image_size", str(size)]
    line += ["--no-turntable", *(w for k, v in SMALL.items() for w in (f"--{k}", v))]
    done = subprocess.run(line, capture_output=True, text=True)
    there = (out / "asset.glb").is_file()
    return "yes" if done.returncode == 0 and there else f"no ({done.stderr.strip()[-80:]})"


def text_difference(prior, seen) -> float:
    """The largest difference of the positive prompt's states from the pipeline's."""
    _, _, theirs = library.told(*seen.calls[0][:2])
    ours = prior.layout.unpack(prior.encode_text([library.PROMPT]))
    if isinstance(theirs, list):
        return float((ours.states[0][ours.mask[0] > 0] - theirs[0]).abs().max())
    wanted = theirs[-1] if len(theirs) == 2 else theirs[0]
    return float((ours.states[0][: len(wanted)] - wanted).abs().max())


def picture_difference(prior, seen) -> float:
    """The largest difference of a decoded picture from the pipeline's."""
    if not seen.decoded:
        return 0.0
    raw, _ = seen.decoded[-1]
    raw = raw[:, :, 0] if raw.ndim == 5 else raw
    ours = prior.decode_latents(prior.latents.scaled(raw)).permute(0, 3, 1, 2)
    return float((ours - seen.image).abs().max())


def published() -> list[list]:
    """Parameters of denoisers at their published sizes, on the meta device."""
    import diffusers
    from random_priors import UNETS

    from tests.test_prompts import MEDIUM, XL

    known = {
        "sd15": UNETS["sd-1.5"],
        "sd21": UNETS["sd-2.1"],
        "xl": XL,
        "medium": MEDIUM,
        "flux": {"guidance_embeds": True},
    }
    rows = []
    for name, (kind, config) in PUBLISHED.items():
        with torch.device("meta"):
            network = getattr(diffusers, kind)(**known.get(config, {}))
        rows.append([name, kind, f"{sum(p.numel() for p in network.parameters()) / 1e6:,.1f}"])
    return rows


def main() -> None:
    folder, rows = Path(tempfile.mkdtemp()), []
    for name in TWINS:
        prior, seen, _ = library.twin(name, folder)
        differences = [
            library.largest_difference(name, lambda n: library.twin(n, folder)),
            text_difference(prior, seen),
            picture_difference(prior, seen),
        ]
        facts = prior.facts
        rows.append(
            [
                name,
                FAMILIES[detect(folder / name)].name,
                *(f"{d:.1e}" for d in differences),
                facts.prediction_type,
                facts.guidance,
                distils(folder / name, folder / f"out-{name}", facts.image_size),
                f"{sum(sizes_of(folder / name).values()):,}",
            ]
        )
        print(rows[-1], flush=True)
    header = ["twin", "family", "prediction", "text", "picture", "says", "guided", "distils"]
    header.append("parameters")
    text = (
        "Twins have random weights and the library's own classes, saved as it saves them. The "
        "columns *prediction*, *text* and *picture* are the largest absolute differences from the "
        "library's own pipeline in float32: of the denoiser's output for its own inputs during two "
        "steps (prompt and negative prompt), of the text's states, of the decoded picture. "
        "*distils*: three steps of `generate` through the command line end in a verified asset."
    )
    body = f"{text}\n\n{table(header, rows)}\n\n## Published sizes\n\n" + (
        "Parameters of the denoisers in millions, built on the meta device.\n\n"
        + table(["model", "class", "millions"], published())
    )
    publish("model_families", "Families of models", "python benchmarks/model_families.py", body)


if __name__ == "__main__":
    main()
