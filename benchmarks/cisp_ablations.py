"""What makes CISP's embedding: short trainings of equal steps, one thing changed in each: batch
size, width of the joint space, how the two encoders look at pictures and voxels. Recall among 200
held-out objects.

Each variant is trained by the command line; a finished one is not trained again.

Run: python benchmarks/cisp_ablations.py [--steps 800] [--objects 6000] [--data folder] [--only
    embedded ...]

--data: a folder with the drawn pairs of an earlier training (its work/data).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tables import publish, table
from variants import trained
from worlds import add_world, runs, world_at_hand

VARIANTS: dict[str, list[str]] = {
    "embedded": [],
    "CNN for voxels": ["--model.shape.kind", "cnn"],
    "batch 32": ["--batch", "32"],
    "width 32": ["--model.width", "32"],
    "patches of pictures by one linear map": [
        "--model.image.stem",
        "linear",
        "--model.image.depth",
        "4",
    ],
    "batches of all categories": ["--categories", "0"],
    "no read-out loss": ["--read_out", "0"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--objects", type=int, default=6000)
    add_world(parser)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    from threestudio_like.priors.networks.contrastive import Contrastive
    from threestudio_like.toybox.pairs import ToyPairs
    from threestudio_like.training.contrastive import BatchSource, ContrastiveTraining, retrieval
    from threestudio_like.training.options import WORLD

    world = world_at_hand("cisp/clip").name
    rows = []
    for name in arguments.only:
        folder, verb = (
            runs("cisp-ablations", "cisp/clip") / name.replace(" ", "-"),
            ["cisp", "--embedding", "cisp"],
        )
        options = [*VARIANTS[name], "--world", world]
        seconds = trained(folder, verb, arguments.steps, arguments.objects, arguments.data, options)
        model = Contrastive.load(folder / "cisp")
        source = ToyPairs(folder / "work" / "data", WORLD["test"], 400, "test", 2, world)
        figures = retrieval(
            model, BatchSource(source, ContrastiveTraining(model=model.config), None), 200, 6
        )
        sizes = [
            sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.image, model.other)
        ]
        rows.append(
            [
                name,
                *sizes,
                *(
                    figures[f"{way} recall@{k}"]
                    for way in ("image to shape", "shape to image")
                    for k in (1, 5)
                ),
                figures["IoU of the first shape found"],
                seconds,
            ]
        )
        print(json.dumps(rows[-1]), flush=True)
    text = table(
        [
            "variant",
            "picture encoder, M",
            "voxel encoder, M",
            "image to shape @1",
            "@5",
            "shape to image @1",
            "@5",
            "IoU of the first shape found",
            "CPU seconds",
        ],
        rows,
    )
    note = (
        f"{arguments.steps} steps each, batch 96 unless said, {arguments.objects} training "
        "objects; 200 held-out objects, six pictures each."
    )
    publish(
        "cisp_ablations",
        "CISP: what makes the embedding",
        f"python benchmarks/cisp_ablations.py --steps {arguments.steps}",
        f"{note}\n\n{text}",
    )


if __name__ == "__main__":
    main()
