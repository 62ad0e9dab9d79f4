"""`--quality`: what each means for every method that distils, and that what the user says wins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from threestudio_like.cli import main
from threestudio_like.commands.generate import Generate
from threestudio_like.commands.texture import Texture
from threestudio_like.engine.config import dotted
from threestudio_like.engine.events import Events
from threestudio_like.priors.oracle import PointMass
from threestudio_like.runs.configure import configure, distilling, export_config
from threestudio_like.runs.options import AssetOptions, MethodOptions
from threestudio_like.runs.quality import with_quality
from threestudio_like.systems import registry

from .test_guidance import MU

METHODS = [
    (name, preset, {"text-to-3d": "generate", "texturing": "texture"}[kind.task])
    for name in registry.SYSTEMS.names()
    if (kind := registry.SYSTEMS.get(name)).task in ("text-to-3d", "texturing")
    for preset in kind.presets
]


class Said(Events):
    """Remembers what was said."""

    def __init__(self) -> None:
        super().__init__(None, "quiet")
        self.lines: list[str] = []

    def say(self, text: str, *more, **options) -> None:
        self.lines.append(text)


def prior(*larger: int, controls: tuple[str, ...] = (), domains: tuple = ("colour",)):
    made = PointMass(MU)
    made.facts.domains = domains
    made.facts.larger, made.facts.controls = larger, controls
    return made


def total(config) -> int:
    return sum(stage.steps for stage in distilling(config).values())


@pytest.mark.parametrize(("name", "preset", "verb"), METHODS)
def test_every_method_has_three_qualities(name, preset, verb):
    config, said = registry.configuration(name, preset, verb), Said()
    assert with_quality(config, "standard", prior(128), said) is config
    assert not said.lines
    draft = with_quality(config, "draft", prior(), said)
    longer = with_quality(config, "high", prior(), said)
    if total(config):
        assert total(draft) == pytest.approx(0.4 * total(config), rel=0.05)
        assert total(longer) == pytest.approx(1.5 * total(config), rel=0.05)
        assert said.lines == [line for line in said.lines if "no second stage" in line]
        assert len(said.lines) == 1
    second = with_quality(config, "high", prior(128, 256), said)
    for stage_name, stage in distilling(second).items():
        assert stage.picture_size in ((256,) if config.encodes(stage_name) else (0,))
    controlled = with_quality(config, "high", prior(128, controls=("depth",)), said)
    assert all(stage.picture_size == 0 for stage in distilling(controlled).values())


def test_assets_grow_with_the_quality_and_what_is_said_wins():
    sizes = {}
    for quality in ("draft", "standard", "high"):
        config = export_config(Generate(prompt="a chair", quality=quality))
        sizes[quality] = (config.texture, config.extraction.size)
    assert sizes == {"draft": (256, 112), "standard": (512, 112), "high": (1024, 168)}
    said = Generate(
        prompt="a chair",
        quality="high",
        asset=AssetOptions(texture=512),
        set={"export.extraction.size": "96"},
    )
    config = export_config(said)
    assert (config.texture, config.extraction.size) == (512, 96)
    assert export_config(Texture(prompt="a chair", quality="draft")).texture == 256


def test_steps_and_sizes_that_are_said_win():
    base = registry.configuration("latent-nerf", "default", "generate")
    high = with_quality(base, "high", prior(128), Said())
    draft = with_quality(base, "draft", prior(), Said())
    options = Generate(
        prompt="a chair", method=MethodOptions(steps=80), set={"rgb.picture_size": "0"}
    )
    assert configure(options, high).rgb.picture_size == 0
    assert total(configure(options, draft)) == 80
    assert with_quality(replace(base, rgb=replace(base.rgb, steps=0)), "high", prior(), Said())


def test_a_prior_that_knows_normals_shapes_what_is_made_in_high_quality():
    base, said = registry.configuration("latent-nerf", "default", "generate"), Said()
    knows = prior(domains=("colour", "normal"))
    high = with_quality(base, "high", knows, said)
    weights = {k: v for k, v in dotted(high).items() if k.endswith("guidances.normals.weight")}
    assert set(weights) == set(base.SHAPED)
    assert all(float(weights[k]) == v for k, v in base.SHAPED.items())
    assert high.mesh.steps > 0
    assert total(high) == total(base) + high.mesh.steps
    assert "normals" in said.lines[0]
    own = Generate(prompt="a chair", set={"mesh.steps": "0", "rgb.guidances.normals.weight": "0"})
    left = configure(own, high)
    assert left.mesh.steps == 0
    assert float(dotted(left)["rgb.guidances.normals.weight"]) == 0
    other = registry.configuration("dreamfusion", "default", "generate")
    assert total(with_quality(other, "high", knows, said)) > total(other)
    assert with_quality(base, "standard", knows, said) is base


def test_a_configuration_is_printed_as_the_quality_makes_it(capsys):
    printed = []
    for quality in ("standard", "draft"):
        line = ["generate", "a red chair", "--quality", quality, "--print-config"]
        assert main(line) == 0
        printed.append(yaml.safe_load(capsys.readouterr().out))
    first, second = (p["config"]["rgb"]["steps"] for p in printed)
    assert second == round(0.4 * first)
    assert printed[1]["export"]["texture"] == 256


def test_a_wrong_quality_is_refused(capsys):
    assert main(["generate", "a red chair", "--quality", "best"]) == 2
    assert "quality" in capsys.readouterr().err
