"""What a guidance says about a step reaches the events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from threestudio_like.engine.loop import Stage
from threestudio_like.engine.schedule import Schedule
from threestudio_like.guidance import Guidance, GuidanceOutput
from threestudio_like.guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_terms,
)


class Told(Guidance):
    """A guidance with one figure."""

    def __call__(self, rendering, inputs):
        return GuidanceOutput(torch.tensor(2.0), {"distance": torch.tensor(0.25)})


class Inputs:
    fraction = 0.5


def test_figures_are_kept_by_the_name_of_their_guidance():
    figures = GuidanceFigures()
    both = [
        WeightedGuidance("one", Told(), Schedule.parse("3")),
        WeightedGuidance("off", Told(), Schedule.parse("0")),
    ]
    terms = guidance_terms(both, None, Inputs(), figures=figures)
    assert {name: float(value) for name, value in terms.items()} == {"one": 6.0}
    assert figures() == {"one.distance": 0.25}


def test_events_of_a_run_have_them(tmp_path, monkeypatch):
    from threestudio_like.cli import main

    monkeypatch.chdir(tmp_path)
    short = "--distil.steps 2 --rgb.steps 2 --start.iterations 2 --quiet --no-turntable"
    assert main(["generate", "a red chair", "--out", "run", *short.split()]) == 0
    lines = Path("run/events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    steps = [e for e in events if e["event"] == "step" and e["stage"] in ("distil", "rgb")]
    assert len(steps) >= 2
    assert all(e["figures"]["distil.gradient"] > 0 for e in steps)


def test_stages_without_figures_say_none():
    stage = Stage("plain", 1, {}, groups=[], loss=lambda step: {})
    assert stage.figures is None
    with pytest.raises(TypeError):
        GuidanceFigures(1)  # type: ignore[call-arg]
