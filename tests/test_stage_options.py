"""What stages do with options at their edges: terms that mean nothing are said, guidances that do
not suit are refused, microbatches see what the whole step sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

from threestudio_like.engine.config import update
from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.stage import Step, total_of
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.image_refinement import ImageRefinement, RefinementConfig
from threestudio_like.guidance.picture import DepthGuidance, fit_scale_and_shift
from threestudio_like.guidance.registry import GUIDANCES, GuidanceContext
from threestudio_like.guidance.score_distillation import ScoreDistillationConfig
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.priors.oracle import PointMass
from threestudio_like.renderers import (
    RandomBackground,
    RingCameras,
    SplatRenderer,
    StratifiedCameras,
    VolumeConfig,
    VolumeRenderer,
)
from threestudio_like.renderers.backgrounds import AugmentedBackground
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.representations import GaussianCloud, GaussianConfig, VoxelField
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.hash_grid import HashGridConfig
from threestudio_like.representations.surfaces import FlexiCubesConfig, ShapeConfig
from threestudio_like.representations.voxel_grid import VoxelGridConfig
from threestudio_like.stages.demand import demands, denoised_entries
from threestudio_like.stages.distillation import DistillationConfig, StepViews
from threestudio_like.stages.field_to_mesh import AssetConfig
from threestudio_like.stages.idle_terms import idle_terms
from threestudio_like.stages.mesh import MeshStageConfig, MeshStart, mesh_stage
from threestudio_like.stages.mesh.stage import sphere
from threestudio_like.stages.mesh_texture import KeptSurface, TextureConfig, texture_stage
from threestudio_like.stages.model import FieldModel
from threestudio_like.stages.painting import PaintingConfig
from threestudio_like.stages.painting_views import PaintViewsConfig
from threestudio_like.stages.regularisers import Regularisation
from threestudio_like.systems.image_to_3d.views import magic123
from threestudio_like.systems.registry import SYSTEMS
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

from .runs import MUG, run

QUICK = [
    *("--start.refine.times", "1.0", "--start.refine.steps", "1", "--start.iterations", "2"),
    *("--steps", "4", "--distil.stratified.batch", "1", "--no-turntable", "--quiet"),
    *("--texture", "64", "--faces", "500"),
]


@pytest.mark.parametrize("name", SYSTEMS.names())
def test_the_presets_have_no_idle_terms(name):
    for make in SYSTEMS.get(name).presets.values():
        assert idle_terms(make()) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"representation": {"kind": "hash"}, "distil": {"regularise": {"distortion": "1"}}},
            ["density_variation, feature_variation of distil.regularise change nothing: hash is"],
        ),
        (
            {
                "representation": {"kind": "gaussians"},
                "distil": {
                    "regularise": {
                        "orient": "0->5",
                        "density_variation": "0",
                        "feature_variation": 0,
                    }
                },
            },
            ["orient of distil.regularise changes nothing: Gaussians have no samples"],
        ),
        (
            {"start": {"regularise": {"orientation": "1", "distortion": "1"}}},
            ["orientation of start.regularise changes nothing: rounds draw single rays"],
        ),
        ({"distil": {"steps": 0, "regularise": {"distortion": "1"}}}, []),
        ({"distil": {"regularise": {"distortion": "1", "z_variance": "1"}}}, []),
    ],
)
def test_terms_that_change_nothing_are_named(values, said):
    config = update(LatentNerf(), values)
    quiet = {"density_variation": "0", "feature_variation": "0"}
    others = {
        name: {"regularise": quiet}
        for name in ("start", "rgb", "distil")
        if values.get("representation") and name not in values
    }
    found = idle_terms(update(config, others))
    assert len(found) == len(said)
    for line, begin in zip(found, said):
        assert line.startswith(begin)


def test_the_published_preset_has_its_terms():
    assert magic123().distil.regularise == Regularisation()
    # Its file's weights: 10,000 of colours, 1,000 of the mask, 1 and 40 of the two priors.
    made = magic123()
    weights = (made.terms.colour, made.terms.mask, made.distil.weight)
    assert [40 * w for w in weights] == [10_000, 1_000, 1]


def test_a_run_says_its_idle_terms(tmp_path, capsys):
    words = [w for w in QUICK if w != "--quiet"]
    words += ["--start.regularise.orientation", "1"]
    assert run("generate", "a red chair", *words, "--out", tmp_path / "run") == 0
    told = capsys.readouterr().err
    assert told.count("Warning: orientation of start.regularise changes nothing") == 1


def test_a_step_without_any_weight_goes_on(tmp_path):
    assert float(total_of({})) == 0
    none = {"opacity-entropy": "0", "density-variation": "0", "feature-variation": "0"}
    weights = [w for k, v in none.items() for w in (f"--distil.regularise.{k}", v)]
    words = [*QUICK, "--distil.weight", "0", *weights]
    assert run("generate", "a red chair", *words, "--out", tmp_path / "run") == 0


def context(parts: FieldModel, prior: Any) -> GuidanceContext:
    """What the guidances of a stage of `parts` are built for."""
    return parts.guidance_context("distil", "a red chair", prior, seed=0, encode=True)


def test_a_sketch_is_followed_by_what_has_samples_alone():
    kind = GUIDANCES.get("sketch")
    config = kind.config(path=str(MUG))
    cloud = GaussianCloud(GaussianConfig(start=50, capacity=60))
    voxels = VoxelField(VoxelGridConfig(size=8), 3)
    prior = PointMass(torch.zeros(4, 8, 8))
    with pytest.raises(ConfigError, match="volumes only"):
        kind.build(context(FieldModel(cloud, SplatRenderer(), show_rgb), prior), config)
    volume = FieldModel(voxels, VolumeRenderer(VolumeConfig(samples=16)), show_rgb)
    kind.build(context(volume, prior), config)


def test_the_background_of_microbatches_is_that_of_the_whole_step():
    """Random colours are each view's own, however its step is divided."""
    field = VoxelField(VoxelGridConfig(size=8, start=-30.0, blob_strength=0.0), 3)
    parts = FieldModel(field, VolumeRenderer(VolumeConfig(samples=8, occupancy=4)), show_rgb)
    behind = AugmentedBackground(inner=RandomBackground.grey(), random_aug_prob=1.0)
    views = StepViews(sampler=StratifiedCameras(batch=4), background=behind, size=8)

    def backgrounds(count: int) -> torch.Tensor:
        step = Step("distil", 3, 10, fraction=0.3, seed=5)
        drawn = [
            views.render(replace(step, microbatch_index=k, microbatches=count), parts, (), "distil")
            for k in range(count)
        ]
        return torch.cat([rendering.background for rendering, _ in drawn])

    whole = backgrounds(1)
    assert len(torch.unique(whole[:, 0, 0, 0])) == 4
    for count in (2, 4):
        assert torch.equal(backgrounds(count), whole)


def test_a_depth_that_would_be_turned_inside_out_keeps_its_mean():
    """Of scales that may not be negative the best is 0, with the mean of the rendering; the shift
    of the negative one would pull the object away."""
    generator = torch.Generator().manual_seed(0)
    known = 2 + torch.rand(6, 6, generator=generator)
    mask = torch.ones(6, 6)
    for sign in (1.0, -1.0):
        rendered = (3 + sign * 0.3 * (known - known.mean()))[None, ..., None]
        rendered.requires_grad_(True)
        one = torch.ones_like(rendered.detach())
        guidance = DepthGuidance(known, mask, invariant=True)
        shown = Rendering(one.expand(-1, -1, -1, 3), one, rendered, one.expand(-1, -1, -1, 3))
        inputs = GuidanceInputs(RingCameras(count=1).all(6), 0.0, RandomStream(0, "s", 0))
        loss = guidance(shown, inputs).loss.detach()
        wanted = 0.0 if sign > 0 else float((rendered.detach() - 3).abs().mean())
        assert float(loss) == pytest.approx(wanted, abs=1e-5)
    scale, shift = fit_scale_and_shift(known, -known, mask, least=0.0)
    assert float(scale) == 0
    assert float(shift) == pytest.approx(-float(known.mean()), rel=1e-5)
    scale, shift = fit_scale_and_shift(known, 1 - 2 * known, mask)
    assert (float(scale), float(shift)) == pytest.approx((-2, 1), rel=1e-4)


@pytest.mark.parametrize("batch", range(1, 13))
@pytest.mark.parametrize(("views", "together"), [(24, 4), (24, 1), (7, 4), (3, 4)])
def test_views_that_belong_together_are_not_parted(batch, views, together):
    """Only a last group of fewer than four is denoised view by view (`RefinementConfig.views`)."""
    prior = PointMass(torch.zeros(4, 8, 8))
    prior.facts.joint_views = together
    config = RefinementConfig(views=views, batch=batch)
    parts = ImageRefinement(prior, "x", config, torch.full((views,), 0.5))._parts(views)
    assert torch.equal(torch.cat(parts), torch.arange(views))
    lengths = [len(part) for part in parts]
    if together > 1:
        assert sum(n for n in lengths if n % 4 == 0) == views - views % 4
        assert max(lengths) <= max(4, batch)
    else:
        assert max(lengths) == min(batch, views - views % 4 or views)


class Sized(PointMass):
    """A prior with a network for larger pictures and views of its own. It notes what it sees."""

    seen: ClassVar[list[Any]] = []

    def __init__(self, size: int = 8) -> None:
        super().__init__(torch.zeros(4, size, size))
        self.facts.fixed_views = ((0.0, 10.0), (90.0, -10.0), (180.0, 10.0))

    def at_size(self, size):
        return self if size in (0, self.facts.image_size) else Sized(size // self.downscale)

    def encode_image(self, images):
        self.seen.append((tuple(images.shape), self.facts.image_size))
        edge = self.facts.latent_size
        return torch.zeros(len(images), 4, edge, edge) + images.mean()


def test_the_texture_of_a_mesh_is_refined_in_the_size_and_views_that_are_asked_for():
    field = VoxelField(VoxelGridConfig(size=12, start=-8.0, blob_strength=16.0), 3)
    parts = FieldModel(field, VolumeRenderer(VolumeConfig(samples=16, occupancy=8)), show_rgb)
    prior = Sized()
    size = prior.facts.image_size
    for asked in (0, 2 * size):
        surface = AssetConfig(resolution=16, unwrap_seconds=1.0)
        config = TextureConfig(steps=1, picture_size=asked, texels=32, surface=surface)
        config = replace(config, guidance=replace(config.guidance, image_residual=False))
        stage = texture_stage(
            config,
            KeptSurface(32),
            parts,
            context(parts, prior),
            background=RandomBackground.grey(),
            size=size,
        )
        step = Step("texture", 0, 1, fraction=0.0, seed=0)
        stage.prepare(step)
        Sized.seen.clear()
        stage.loss(step)
        assert Sized.seen == [((3, asked or size, asked or size, 3), asked or size)]


@pytest.mark.parametrize("move", ["both", "shape", "colours"])
def test_the_colours_of_a_mesh_stage_follow_the_run(move):
    """Levels of a hash grid open as their schedule says."""
    grid = HashGridConfig(levels=4, log2_size=6, finest=64, open_levels="1->4")
    config = MeshStageConfig(
        steps=8,
        move=move,
        shape=ShapeConfig(flexicubes=FlexiCubesConfig(size=8)),
        colours=FieldConfig(kind="hash", hash=grid),
    )
    stage = mesh_stage("mesh", config, MeshStart.of_mesh(sphere(0.5), taught=False))
    opened = []
    for index in (0, 3, 6):
        stage.before_step(Step("mesh", index, 9, fraction=index / 9, seed=0))
        opened.append(int(stage.modules["appearance"].opened))
    assert opened == [1, 2, 3]


@dataclass(frozen=True, kw_only=True)
class Meshes:
    """A system's configuration with stages that draw meshes."""

    paint: PaintingConfig
    texture: TextureConfig


@pytest.mark.parametrize(("changes", "entries"), [({}, 2), ({"perp_neg": 0.5}, 4)])
def test_a_forecast_sees_the_entries_of_perp_neg_in_every_stage(changes, entries):
    """Four predictions a view, of fields, of paintings and of textures, by whichever guidance."""
    score = ScoreDistillationConfig(**changes)
    stages = (
        PaintingConfig(steps=1, guidance=score),
        TextureConfig(steps=1, guidance=score),
    )
    found = demands(Meshes(paint=stages[0], texture=stages[1]), PointMass(torch.zeros(4, 8, 8)))
    assert [demand.repeats for demand in found] == [entries] * 2
    others: list[Any] = [DistillationConfig(guidance=score), MeshStageConfig(guidance=score)]
    assert {denoised_entries(stage) for stage in others} == {entries}
    main = Guidances().updated({"main": "vsd", "vsd": changes}, "guidances.")
    assert denoised_entries(DistillationConfig(guidances=main)) == entries
    assert denoised_entries(PaintViewsConfig()) == 0
