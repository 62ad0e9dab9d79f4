"""Painting by all views on one texture: what it takes, and how its views meet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.test_painting import body
from threestudio_like.commands.jobs.texture import coverage_line
from threestudio_like.engine.config import update
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.engine.memory import MemoryWatch
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import Cameras, SurfaceConfig, SurfaceRenderer, back_project
from threestudio_like.representations import TexturedMesh
from threestudio_like.runs.memory_budget import PLANS, forecast
from threestudio_like.stages.demand import demands
from threestudio_like.stages.painting import SurfaceModel
from threestudio_like.stages.painting_views import levels_of, not_background, within_edges
from threestudio_like.systems.texturing.by_method import by_method
from threestudio_like.systems.texturing.latent_paint import LatentPaint
from threestudio_like.systems.texturing.request import PaintRequest


def painting(method: str) -> LatentPaint:
    """Two steps of the stage `paint`, or two of `start`."""
    plain = LatentPaint()
    plain = replace(plain, rgb=replace(plain.rgb, steps=0), pbr=replace(plain.pbr, steps=0))
    if method == "paint":
        return update(by_method(plain, "paint", "latent-paint"), {"paint": {"steps": 2}})
    few = {"refine": {"times": [0.9], "steps": 2, "views": 8}, "iterations": 2}
    return update(plain, {"start": few})


@pytest.mark.parametrize("method", ["paint", "start"])
def test_a_forecast_is_what_painting_takes(method, tiny_folder):
    """Within 15 %, texture of 512 texels: networks, drawings, projection."""
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    config = painting(method)
    wanted = demands(config, prior)
    assert [d.name for d in wanted] == [method]
    expected = forecast(PLANS[0], wanted, prior)
    prior.keep_within(expected.limits)
    with MemoryWatch() as watch:
        for module in (prior.unet, prior.vae):
            for tensor in [*module.parameters(), *module.buffers()]:
                watch.note(tensor)
        request = PaintRequest("a red chair", prior, 0, atlas=body(512))
        Loop(None, Events(None, "quiet"), LoopSettings()).run(config.plans(request))
    assert watch.peak == pytest.approx(expected.peak, rel=0.15), expected.parts


def test_both_counts_what_is_painted_and_what_is_distilled(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    config = by_method(LatentPaint(), "both", "latent-paint")
    wanted = {d.name: d for d in demands(config, prior)}
    assert set(wanted) == {"paint", "rgb", "pbr"}
    # Sixteen views are denoised by eight; twice as many at once are twice as much.
    few = forecast(PLANS[0], [wanted["paint"]], prior)
    twice = replace(config, paint=replace(config.paint, batch=16))
    demand = next(d for d in demands(twice, prior) if d.name == "paint")
    assert (wanted["paint"].views, demand.views) == (8, 16)
    assert forecast(PLANS[0], [demand], prior).peak > few.peak
    # Nothing of it has a way back, so its encoder takes less than that of a distillation.
    whole = replace(wanted["paint"], gradient=True)
    assert forecast(PLANS[0], [whole], prior).peak >= few.peak


def test_the_drawn_geometry_is_kept_while_no_vertex_moves():
    atlas = body(48)
    for moves in (False, True):
        surface = TexturedMesh(atlas, 3, start=torch.zeros(3), offsets=moves)
        parts = SurfaceModel(surface, SurfaceRenderer(SurfaceConfig()), show_rgb)
        before = parts.shape()
        assert (parts.shape() is before) is not moves
        if moves:
            with torch.no_grad():
                surface.offsets.fill_(0.05)
            assert float((parts.shape().points - before.points).abs().max()) > 0.04


def planes(size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Opacity and depth (1, S, S, 1) of a slanted plane, the right half of which stands before the
    left, in a frame of background."""
    ramp = torch.linspace(-1, 1, size).view(1, size, 1, 1).expand(1, size, size, 1)
    depth = 1 / (1 / 3 + 0.06 * ramp)
    depth = torch.where(torch.arange(size).view(1, 1, size, 1) < size // 2, depth, depth - 0.4)
    opacity = torch.zeros(1, size, size, 1)
    opacity[:, 8:-8, 8:-8] = 1
    return opacity, depth * opacity


def test_views_fade_towards_silhouettes_and_towards_what_stands_before():
    opacity, depth = planes()
    counts = within_edges(opacity, depth)[0]
    assert counts.shape == (48, 48)
    inside = counts[11:-11, 11:-11]
    away = [0, 1, 2, 3, 4, 5, 6, 7, 19, 20, 21, 22, 23, 24, 25]
    assert torch.equal(inside[:, away], torch.ones(26, len(away)))
    row = counts[24]
    # Both sides of the step, and the silhouette on the left.
    assert row[22:26].max() <= 0.3 + 0.7 / 3
    assert bool((row[8:12].diff() > 0).all())
    assert float(counts[opacity[0, ..., 0] > 0].min()) > 0


def test_a_texel_takes_its_colour_from_where_it_is_not_at_an_edge():
    """Two cameras see a box, red and blue; where the red one's edges are, blue counts more, and the
    share changes by degrees."""
    atlas = body(96)
    surface = TexturedMesh(atlas, 3, start=torch.zeros(3))
    turns = torch.tensor([0.0, math.radians(35)])
    cameras = Cameras.orbit(turns, torch.zeros(2), 3.0, math.radians(40), 64, 64)
    pictures = torch.zeros(2, 64, 64, 3)
    pictures[0, ..., 0], pictures[1, ..., 2] = 1, 1
    counts = torch.ones(2, 64, 64)
    even, weight = back_project(surface, cameras, pictures, power=1.0)
    same, _ = back_project(surface, cameras, pictures, power=1.0, counts=counts)
    torch.testing.assert_close(even, same)
    counts[0, :, :32] = 0.02
    less, fewer = back_project(surface, cameras, pictures, power=1.0, counts=counts)
    assert bool(((fewer > 0) == (weight > 0)).all())
    assert float((less[0] - even[0]).max()) < 1e-5
    assert float((even[0] - less[0]).max()) > 0.3


def test_what_a_prior_paints_as_background_is_no_colour_of_the_mesh():
    """Its legs end above the mesh's feet. Of two levels behind the views at least one tells a
    colour from the background."""
    levels = levels_of(12, 0.5)
    assert levels.tolist() == pytest.approx([0.5] * 4 + [0.9] * 4 + [0.5] * 4)
    assert float(levels_of(8, 0.8)[4]) == pytest.approx(0.4)
    shown = torch.zeros(8, 32, 32, 1)
    shown[:, 4:28, 8:24] = 1
    for colour in ((0.9, 0.8, 0.1), (0.5, 0.5, 0.5), (0.95, 0.95, 0.95), (0.55, 0.5, 0.5)):
        pictures = levels[:8].view(-1, 1, 1, 1).expand(-1, 32, 32, 3).clone()
        pictures[:, 4:22, 8:24] = torch.tensor(colour)
        counts = not_background(pictures, levels[:8], shown)
        assert float(counts[:, 22:28, 8:24].max()) == 0
        assert float(counts[:, 4:22, 8:24].amax(0).min()) == 1


def test_an_object_of_the_colour_of_all_its_backgrounds_is_painted_all_the_same():
    shown = torch.ones(4, 16, 16, 1)
    pictures = torch.full((4, 16, 16, 3), 0.52)
    counts = not_background(pictures, torch.full((4,), 0.5), shown)
    assert torch.equal(counts, torch.ones(4, 16, 16))


@pytest.mark.parametrize("controlled", [False, True])
def test_what_was_left_out_as_background_is_said(controlled):
    figures = {
        "texels seen": 0.93,
        "texels unseen, filled from neighbours": 0,
        "texels shown as background, filled from neighbours": 0,
    }
    assert "background" not in coverage_line(figures)
    figures["texels shown as background, filled from neighbours"] = 1234
    line = coverage_line(figures, controlled=controlled)
    assert "1,234 more that the prior took for background" in line
    assert ("--control depth" in line) is not controlled
