"""A judge that tells the relation of two named things from a picture, and nothing else: the second
judge's network, trained on scenes of the toybox alone, which no other network of a table has seen.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from second_world.judge import SecondJudge, Training, accuracy
from second_world.judge_data import Words, gather
from worlds import world_at_hand

SEED, SCENES, HELD_OUT, STEPS, BATCH = 7301, 2400, 192, 1500, 48


def relation_judge(folder: Path) -> tuple[SecondJudge, float]:
    """The judge, trained under `folder` where it is not there yet (from where an earlier call was
    interrupted), and the share of held-out pictures, four a scene, whose relation it tells."""
    if not (folder / "figures.json").is_file():
        _train(folder)
    figures = json.loads((folder / "figures.json").read_text())
    return SecondJudge.load(folder), float(figures["relation"])


def _train(folder: Path) -> None:
    world = world_at_hand()
    words = Words.of(world)
    data = gather(folder / "pictures", words, world, SEED, {"toy-scenes": SCENES})
    torch.manual_seed(SEED)
    training = Training(SecondJudge(words), STEPS, SEED, folder)
    training.resume()
    while training.step < STEPS:
        loss = training.advance(data, BATCH)
        if training.step % 100 == 0:
            print(f"relation judge, step {training.step}: loss {loss:.3f}", flush=True)
            training.save()
    judge = training.judge.eval()
    judge.save(folder)
    test = gather(folder / "pictures", words, world, SEED + 1, {"toy-scenes": HELD_OUT})
    figures = accuracy(judge, test)
    print("relation judge, held out", figures, flush=True)
    (folder / "figures.json").write_text(json.dumps(figures))
