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
    arguments = ["4"] if script.stem in ("01_generate", "05_texture", "08_compose") else []
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


def test_a_plug_in_is_found_and_a_broken_one_stops_nothing(monkeypatch):
    from importlib.metadata import EntryPoint

    from threestudio_like.systems import registry

    points = [
        EntryPoint(
            "bold", "threestudio_like.systems.registry:BUILT_IN", "threestudio_like.systems"
        ),
        EntryPoint("missing", "no_such_module:x", "threestudio_like.systems"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    found, broken = registry.plug_ins()
    assert found == {}
    assert set(broken) == {"bold", "missing"}
    assert registry.configuration("latent-nerf", "default")
    from threestudio_like.commands.doctor import examine

    states = {r["name"]: r["state"] for r in examine()["systems"]}
    assert states["missing"] == "broken"
    assert states["latent-nerf"] == "ok"
