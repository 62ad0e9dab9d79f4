"""The example scripts run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_example(script, tmp_path):
    quick = dict.fromkeys(("01_generate", "05_texture", "08_compose", "10_rigged"), "4")
    # A few steps leave nothing to extract a surface from.
    steps = {**quick, "02_own_loop": "30"}
    arguments = [steps[script.stem]] if script.stem in steps else []
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if script.stem == "05_texture":
        assert (tmp_path / "teapot.glb").is_file()
    if script.stem == "01_generate":
        assert (tmp_path / "mug.glb").is_file()
    if script.stem == "08_compose":
        assert (tmp_path / "scene.glb").is_file()
        assert "green_sofa" in done.stdout
    if script.stem == "10_rigged":
        assert (tmp_path / "painted.glb").is_file()
        for line in (
            "nodes: the same",
            "skins: the same",
            "animations: the same",
            "part body: painted",
            "part head, with its morph target blink: the same",
            "part limbs: the same",
            "changed and not meant to: nothing",
        ):
            assert line in done.stdout.splitlines()
        assert done.stdout.rstrip().endswith("ok")


def test_a_plug_in_is_found_and_a_broken_one_stops_nothing(monkeypatch):
    from importlib.metadata import EntryPoint

    from threestudio_like.engine import registry as engine
    from threestudio_like.systems.registry import SYSTEMS, configuration, names
    from threestudio_like.systems.system import Registered
    from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

    bold = Registered("bold", "as plug-ins registered it at first", {"default": LatentNerf})
    monkeypatch.setattr(sys.modules[__name__], "BOLD", bold, raising=False)
    group = "threestudio_like.systems"
    points = [
        EntryPoint("bold", f"{__name__}:BOLD", group),
        EntryPoint("wrong", "threestudio_like.systems.registry:SYSTEMS", group),
        EntryPoint("missing", "no_such_module:x", group),
    ]
    monkeypatch.setattr(engine, "entry_points", lambda group: points)
    monkeypatch.setattr(SYSTEMS, "_added", {})
    monkeypatch.setattr(SYSTEMS, "_broken", [])
    monkeypatch.setattr(SYSTEMS, "_points_read", False)
    assert names("generate")[:2] == ["latent-nerf", "dreamfusion"]
    assert names("generate")[-1] == "bold"
    assert {b.name for b in SYSTEMS.broken()} == {"wrong", "missing"}
    assert isinstance(configuration("bold"), LatentNerf)
    assert configuration("latent-nerf", "paper")
    from threestudio_like.commands.jobs.doctor import registered

    states = {r["name"]: r["state"] for r in registered(SYSTEMS)}
    assert states["missing"] == "broken"
    assert states["latent-nerf"] == "ok"
