"""Distillation through the command line on twins of the families that differ most, and forecasts of
their memory; benchmarks/model_families.py runs every twin."""

from __future__ import annotations

import pytest

from tests.twins import save_twin
from threestudio_like.cli import main

SMALL = [
    *("--representation.hash.levels", "4", "--representation.hash.log2_size", "10"),
    *("--renderer.samples", "16", "--renderer.occupancy", "16", "--no-turntable"),
    *("--faces", "300", "--texture", "64", "--steps", "2", "--load.image_size", "16"),
]


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux-dev", "deepfloyd-if"])
def test_a_family_distils(name, tmp_path, capsys):
    folder, out = save_twin(name, tmp_path / "model"), tmp_path / "out"
    capsys.readouterr()
    line = ["generate", "a (red:1.5) chair", "--prior", str(folder), "--out", str(out)]
    memory = ["--memory", "8GB"] if name != "sd3" else []
    assert main([*line, *SMALL, *memory]) == 0
    assert (out / "asset.glb").is_file()
    told = capsys.readouterr().err
    said = (out / "run.yaml").read_text()
    assert ("guidance scale 1" in told) == (name == "flux-dev")
    assert ("scale: 100.0" in said) == (name != "flux-dev")
    assert ("Memory:" in told) == bool(memory)
