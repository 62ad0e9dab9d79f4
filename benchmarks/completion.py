"""What noise, the box and text do for completion: fifty toybox objects that another one hides in
part, whose full appearance is known.

Masks are the true ones; boxes are the visible part's, grown over what hides it, as `compose` has
them. The whole object alone under the same camera is the truth.

Run: python benchmarks/completion.py [--count 50]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from compose import SIZE, Truth
from tables import ROOT, publish, table
from worlds import add_world, world_at_hand

from threestudio_like import load_prior
from threestudio_like.metrics.judge import Judge
from threestudio_like.priors.framing import FILL, boxes, cut, similarities
from threestudio_like.priors.inpainter import LatentBlending
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.renderers import SceneRenderer
from threestudio_like.renderers.backgrounds import BackgroundSample
from threestudio_like.representations import Body
from threestudio_like.systems.scene.amodal_completion import (
    Completed,
    CompletionConfig,
    complete,
    cut_square,
    uncompleted,
)
from threestudio_like.systems.scene.layout import own_masks
from threestudio_like.systems.scene.parts import Part, mask_box
from threestudio_like.systems.scene.segmentation import grow_boxes

FULL = CompletionConfig()
VARIANTS = {
    "nothing": CompletionConfig(when="never"),
    "grey, box, text (default)": FULL,
    "noise behind": replace(FULL, behind="noise"),
    "white behind": replace(FULL, behind="white"),
    "no box": replace(FULL, box=False, hidden=False),
    "no text": replace(FULL, text=False),
    "whole box, not only what is hidden": replace(FULL, hidden=False),
}


class Hidden:
    """An object of which between a tenth and two thirds is hidden: what the picture shows, and the
    truth."""

    def __init__(
        self, truth: Truth, number: int, visible: torch.Tensor, alone: torch.Tensor
    ) -> None:
        self.phrase, self.mesh = truth.text.objects[number], truth.meshes[number]
        self.share = float(visible[number].sum()) / max(float(alone[number].sum()), 1)
        self.picture = truth.picture
        self.parts = [
            Part(p, v.numpy().astype(np.float32), mask_box(v.numpy()))
            for p, v in zip(truth.text.objects, visible)
        ]
        self.part = self.parts[number]
        self.others = np.max([p.mask for k, p in enumerate(self.parts) if k != number], 0) > 0.5
        grow_boxes(self.parts, [(k, number) for k in range(len(self.parts)) if k != number], 0.35)
        scene = truth.with_meshes([Body({"m": truth.meshes[number]})], [truth.where[number]])
        with torch.no_grad():
            shown = SceneRenderer().render(
                scene, truth.camera, BackgroundSample(torch.full((1, SIZE, SIZE, 3), 0.85))
            )
        self.true_picture, self.true_mask = shown.features[0].numpy(), alone[number].numpy()


def hidden_objects(count: int) -> list[Hidden]:
    found: list[Hidden] = []
    number = 0
    while len(found) < count:
        truth = Truth.of(number)
        number += 1
        visible, alone = own_masks(truth.placed, truth.camera)
        for k in range(len(visible)):
            share = float(visible[k].sum()) / max(float(alone[k].sum()), 1)
            if 0.33 < share < 0.9 and int(visible[k].sum()) > 150:
                found.append(Hidden(truth, k, visible, alone))
    return found[:count]


def framed(done: Completed, size: int = 64) -> torch.Tensor:
    """The object as the judge sees it: (1, S, S, 3), grey behind."""
    x = torch.from_numpy(done.pixels).permute(2, 0, 1)[None]
    x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)
    small = cut(x, similarities(boxes(x[:, 3], 0.5), FILL), size)
    return (small[:, :3] + (1 - small[:, 3:]) * 0.8).permute(0, 2, 3, 1).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50)
    add_world(parser)
    arguments = parser.parse_args()
    prior = load_prior("toybox")
    judge = Judge.load(embedded_folder("judge"))
    objects = hidden_objects(arguments.count)
    rows, strips = [], []
    for name, config in VARIANTS.items():
        inpainter = LatentBlending(prior, config.inpaint)
        errors, ious, growth, right = [], [], [], []
        for number, one in enumerate(objects):
            if config.when == "never":
                done = uncompleted(one.picture, one.part, config)
            else:
                done = complete(
                    one.picture, one.part, one.others, inpainter, None, config, number, True
                )
            size = done.pixels.shape[0]
            truth = cut_square(
                np.concatenate([one.true_picture, one.true_mask[..., None]], -1), done.frame, size
            ).numpy()
            seen = cut_square(one.part.mask[..., None], done.frame, size).numpy()[..., 0] > 0.5
            solid, made = truth[..., 3] > 0.5, done.pixels[..., 3] > 0.5
            region = solid & ~seen
            shown = done.pixels[..., :3] * done.pixels[..., 3:] + 0.85 * (1 - done.pixels[..., 3:])
            errors.append(
                float(np.square(shown - truth[..., :3])[region].mean()) if region.any() else 0.0
            )
            ious.append(float((solid & made).sum() / max((solid | made).sum(), 1)))
            growth.append(float((made & ~solid).sum() / max(solid.sum(), 1)))
            with torch.no_grad():
                category = judge.categories[int(judge(framed(done)).category.argmax())]
            right.append(category == world_at_hand().vocabulary.parse(one.phrase)[0].category)
            if number < 8:
                strips.append((name, number, shown, truth[..., :3]))
        rows.append(
            [
                name,
                -10 * float(np.log10(max(np.mean(errors), 1e-9))),
                float(np.mean(ious)),
                float(np.mean(growth)),
                float(np.mean(right)),
            ]
        )
    text = table(
        [
            "variant",
            "PSNR inside what is hidden, dB",
            "mask IoU with the whole object",
            "grown beyond it",
            "judge: category",
        ],
        rows,
    )
    sheet(strips)
    text += (
        "\n\nEight of them: the truth, then the variants in the table's order.\n\n![completed "
        "objects](../pictures/completed.jpg)"
    )
    publish(
        "completion",
        "Completing what is hidden",
        f"python benchmarks/completion.py --count {arguments.count}",
        text,
    )


def sheet(strips: list[tuple[str, int, np.ndarray, np.ndarray]], edge: int = 96) -> None:
    """docs/pictures/completed.jpg: a row a variant, the truth first."""
    from PIL import Image

    def small(picture: np.ndarray) -> np.ndarray:
        return np.asarray(
            Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8)).resize(
                (edge, edge), Image.Resampling.LANCZOS
            )
        )

    names = list(dict.fromkeys(s[0] for s in strips))
    rows = [np.concatenate([small(s[3]) for s in strips if s[0] == names[0]], 1)]
    rows += [np.concatenate([small(s[2]) for s in strips if s[0] == name], 1) for name in names]
    Image.fromarray(np.concatenate(rows, 0)).save(
        ROOT / "docs" / "pictures" / "completed.jpg", quality=82
    )


if __name__ == "__main__":
    main()
