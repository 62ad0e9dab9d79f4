"""Paintings of all sides on one texture, and those that distil from there, that are killed outright
go on where their last checkpoint was, and end in the bytes of the uninterrupted one.

Another child goes on in the same folder, from the folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests import control_twins
from tests.children import KILLED, Children
from tests.twins import TWINS, save_twin
from threestudio_like.engine.config import to_dict
from threestudio_like.systems.texturing.by_method import by_method
from threestudio_like.systems.texturing.latent_paint import LatentPaint

PAINTS = """
from threestudio_like.cli import main
from threestudio_like.engine import loop


def carry_out(order):
    loop.Loop = killing(loop.Loop, order["stage"], order["index"])
    return main(order["words"])
"""
BOX = """
v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1
f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8
"""
PAINT = ["--paint.steps", "4", "--paint.views", "4", "--paint.apart", "0.3", "--texture", "64"]
FEW = ["--no-turntable", "--quiet", "--checkpoint-steps", "1", "--threads", "1"]


class Painter(Children):
    """Carries commands out."""

    def __init__(self, room: Path) -> None:
        self.prior = save_twin("sd", room / "sd")
        torch.manual_seed(5)
        self.control = room / "control"
        control_twins.controlnet(TWINS["sd"]()).eval().save_pretrained(self.control)
        self.mesh = room / "box.obj"
        self.mesh.write_text(BOX)
        super().__init__(PAINTS, room / "errors.txt")

    def run(self, words: list[str], stage: str = "", index: int = 0) -> int:
        return self.carry_out(words=words, stage=stage, index=index)

    def words(self, case: str, out: Path) -> list[str]:
        method, _, control = case.partition(" ")
        line = [
            "texture",
            str(self.mesh),
            "a blue box",
            "--prior",
            str(self.prior),
            "--out",
            str(out),
        ]
        line += ["--prior", str(self.prior), "--method", method, *FEW, "--load.image_size", "16"]
        line += PAINT + ([] if method == "paint" else ["--steps", "3", "--resolution", "16"])
        return line + (["--control", f"depth={self.control}"] if control else [])


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    made = Painter(tmp_path_factory.mktemp("killed"))
    yield made
    made.close()


CASES = {
    "paint control": [("paint", 2)],
    "both control": [("rgb", 1)],
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_painting_ends_in_the_same_bytes(case, painter, tmp_path):
    assert painter.run(painter.words(case, tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "asset.glb").read_bytes()
    for stage, index in CASES[case]:
        out = tmp_path / f"{stage}-{index}"
        assert painter.run(painter.words(case, out), stage, index) == KILLED
        assert not (out / "asset.glb").exists()
        assert painter.run(["resume", str(out), "--quiet"]) == 0
        assert (out / "asset.glb").read_bytes() == whole, (stage, index)
        events = (out / "events.jsonl").read_text().splitlines()
        begun = [json.loads(e) for e in events if json.loads(e)["event"] == "begin"]
        assert [e["resume"] for e in begun] == [False, True]
        asked = yaml.safe_load((out / "run.yaml").read_text())["options"]
        assert bool(asked["control"]) == ("control" in case)


def test_both_distils_what_was_painted():
    """Also where the preset distils a latent atlas, which would come before and be painted over."""
    paper = LatentPaint.paper()
    made = by_method(paper, "both", "latent-paint")
    assert (made.latent.steps, made.paint.steps > 0, made.rgb.steps) == (0, True, 5000)
    assert to_dict(made.rgb.guidance) == to_dict(paper.latent.guidance)
    usual = by_method(LatentPaint(), "both", "latent-paint")
    assert (usual.rgb, usual.latent) == (LatentPaint().rgb, LatentPaint().latent)
