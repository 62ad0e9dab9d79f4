"""Every family of models on a tiny twin with random weights: does it load, does it equal the
library's own pipeline, does it distil, in how much memory of how much that was forecast, and how
many parameters its published models have.

    python benchmarks/model_families.py
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tables import publish, table

from tests import test_families as library
from tests.test_views import COMPARED as VIEWS
from tests.test_views import opened
from tests.twins import TWINS
from tests.view_twins import ADAPTER, VIEW_TWINS, save_view_twin
from threestudio_like.cli import main as command_line
from threestudio_like.engine.loop import Loop
from threestudio_like.engine.memory import MemoryWatch
from threestudio_like.meshes.io.images import encode_png
from threestudio_like.priors.families.detection import FAMILIES, detect
from threestudio_like.priors.families.parts import sizes_of
from threestudio_like.priors.networks.multi_view_unet import MultiViewUNet, MultiViewUNetRecord
from threestudio_like.runs import memory_budget

SMALL = {
    "representation.hash.levels": "4",
    "representation.hash.log2_size": "10",
    "renderer.samples": "16",
    "renderer.occupancy": "16",
    "texture": "64",
    "faces": "300",
    "steps": "3",
}
TAKEN = ["MB taken", "MB forecast", "parameters"]
"""Last columns of both tables of twins."""
PUBLISHED = {
    "Stable Diffusion 1.5": ("UNet2DConditionModel", "sd15"),
    "Stable Diffusion 2.1": ("UNet2DConditionModel", "sd21"),
    "Stable Diffusion XL": ("UNet2DConditionModel", "xl"),
    "Stable Diffusion 3 medium": ("SD3Transformer2DModel", "medium"),
    "FLUX.1": ("FluxTransformer2DModel", "flux"),
    "FLUX.2": ("Flux2Transformer2DModel", ""),
    "Qwen-Image": ("QwenImageTransformer2DModel", ""),
    "Z-Image": ("ZImageTransformer2DModel", ""),
    "Zero123, Stable Zero123": ("UNet2DConditionModel", "zero123"),
    "Zero123++": ("UNet2DConditionModel", "sd21"),
    "MVDream": ("MultiViewUNet", ""),
    "ImageDream": ("MultiViewUNet", "picture"),
}


class Watched:
    """What the distillation of one run takes: bytes of tensors alive, and what was forecast. The
    loops of a run are watched one by one; what is loaded, extracted and written around them is not
    distillation."""

    def __init__(self) -> None:
        self.peak = self.forecast = 0

    @contextlib.contextmanager
    def here(self):
        """Watch what the process runs."""
        run, choose = Loop.run, memory_budget.choose
        held: list[torch.Tensor] = []

        def planned(text, config, prior, *more, **options):
            found = choose(text, config, prior, *more, **options)
            # Without the surface's extraction, which comes after them.
            own = memory_budget.forecast(found.plan, list(found.demands), prior)
            self.forecast = max(self.forecast, own.peak)
            for network in (getattr(prior, n, None) for n in ("denoiser", "unet", "vae")):
                if network is not None:
                    held.extend([*network.parameters(), *network.buffers()])
            return found

        def watched(loop, plans):
            with MemoryWatch() as watch:
                for tensor in held:
                    watch.note(tensor)
                done = run(loop, plans)
            self.peak = max(self.peak, watch.peak)
            return done

        Loop.run, memory_budget.choose = watched, planned
        try:
            yield
        finally:
            Loop.run, memory_budget.choose = run, choose


def distils(folder: Path, out: Path, size: int, picture: Path | None = None) -> list[str]:
    """Whether three steps through the command line end well: of `generate`, or of `reconstruct`
    where there is a picture; megabytes that they took, and that were forecast."""
    work = ["generate", "a red chair"]
    if picture is not None:
        work = ["reconstruct", str(picture), "--method", "field"]
    line = [*work, "--quiet", "--memory", "64GB", "--export.resolution", "32"]
    line += ["--prior", str(folder), "--out", str(out), "--load.image_size", str(size)]
    if (folder / ADAPTER).is_file():
        line += ["--load.view_adapter", str(folder / ADAPTER)]
    line += ["--no-turntable", *(w for k, v in SMALL.items() for w in (f"--{k}", v))]
    watched, said = Watched(), io.StringIO()
    with watched.here(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = command_line(line)
    well = code == 0 and (out / "asset.glb").is_file()
    megabytes = [f"{n / 1e6:.1f}" for n in (watched.peak, watched.forecast)]
    return ["yes" if well else f"no ({said.getvalue().strip()[-80:]})", *megabytes]


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
        "zero123": {**UNETS["sd-1.5"], "in_channels": 8},
    }
    rows = []
    for name, (kind, config) in PUBLISHED.items():
        with torch.device("meta"):
            if kind == "MultiViewUNet":
                picture = 16 if config else 0
                network = MultiViewUNet(MultiViewUNetRecord(camera_dim=16, ip_dim=picture))
            else:
                network = getattr(diffusers, kind)(**known.get(config, {}))
        numbers = sum(p.numel() for p in network.parameters())
        rows.append([name, kind, f"{numbers / 1e6:,.1f}", f"{2 * numbers / 2**30:.1f}"])
    return rows


def a_photo(folder: Path) -> Path:
    """A red ellipse with alpha."""
    y, x = np.mgrid[:64, :64]
    inside = (x - 32) ** 2 / 400 + (y - 32) ** 2 / 600 < 1
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 3] = 200, 60, 255 * inside
    path = folder / "photo.png"
    path.write_bytes(encode_png(pixels))
    return path


def views(folder: Path) -> list[list]:
    """The rows of the view-conditioned families."""
    rows, photo = [], a_photo(folder)
    for name in VIEW_TWINS:
        place = save_view_twin(name, folder / name)
        prior = opened(place)
        pairs = VIEWS[name](prior)
        facts = prior.facts
        rows.append(
            [
                name,
                FAMILIES[detect(place)].name,
                f"{max(float((ours - theirs).abs().max()) for ours, theirs in pairs):.1e}",
                ", ".join(facts.conditions),
                facts.joint_views,
                facts.preset,
                *distils(
                    *(place, folder / f"out-{name}", facts.image_size),
                    picture=photo if facts.wants_reference else None,
                ),
                f"{sum(sizes_of(place).values()):,}",
            ]
        )
        print(rows[-1], flush=True)
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
                *distils(folder / name, folder / f"out-{name}", facts.image_size),
                f"{sum(sizes_of(folder / name).values()):,}",
            ]
        )
        print(rows[-1], flush=True)
    header = ["twin", "family", "prediction", "text", "picture", "says", "guided", "distils"]
    header += TAKEN
    text = (
        "Twins have random weights and the library's own classes, saved as it saves them. The "
        "columns *prediction*, *text* and *picture* are the largest absolute differences from the "
        "library's own pipeline in float32: of the denoiser's output for its own inputs during two "
        "steps (prompt and negative prompt), of the text's states, of the decoded picture. "
        "*distils*: three steps of `generate` through the command line end in a verified asset. "
        "*MB taken*: the most bytes of tensors alive while they distil, weights and field with "
        "them; *MB forecast*: what `--memory` counts on for them before anything runs. Of long "
        "prompts (512 tokens and more) the peak is what a text encoder holds at work for a moment, "
        "which a forecast does not count; at these sizes it is larger than all else."
    )
    told = (
        "Twins in the layout of the published folders. *prediction*: the largest absolute "
        "difference from the published conditioning, written out on the library's networks "
        "(tests/test_views.py), with the picture and without. *told*: what a prediction depends "
        "on. *distils*: three steps of `generate`, or of `reconstruct --method field` for models "
        "that turn a picture."
    )
    seen = ["twin", "family", "prediction", "told", "views together", "preset", "distils"]
    seen_table = table([*seen, *TAKEN], views(folder))
    body = f"{text}\n\n{table(header, rows)}\n\n## Views\n\n{told}\n\n{seen_table}\n\n"
    body += "## Published sizes\n\n" + (
        "Parameters of the denoisers in millions, built on the meta device, and what they take in "
        "bfloat16, which is the least that distilling from them takes.\n\n"
        + table(["model", "class", "millions", "GB in bfloat16"], published())
    )
    publish("model_families", "Families of models", "python benchmarks/model_families.py", body)


if __name__ == "__main__":
    main()
