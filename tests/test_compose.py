"""`compose`: taking a picture apart, completing, placing, writing; METHODS 4.9."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_scenes import ball, cube
from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.transform import Transform
from threestudio_like.priors.framing import Similarity
from threestudio_like.priors.inpainter import InpaintConfig, Inpainter, LatentBlending
from threestudio_like.priors.oracle import OraclePrior
from threestudio_like.priors.segmentation.behind import before_gradient
from threestudio_like.renderers import SceneRenderer
from threestudio_like.renderers.backgrounds import BackgroundSample
from threestudio_like.representations import Body, PlacedScene
from threestudio_like.systems.cut_out.marks import read_boxes
from threestudio_like.systems.scene.amodal_completion import (
    CompletionConfig,
    complete,
    prompt_for,
    task_of,
)
from threestudio_like.systems.scene.comboverse import Comboverse
from threestudio_like.systems.scene.layout import (
    LayoutConfig,
    Seen,
    initial_transform,
    looks_down,
    mask_iou,
    own_masks,
    projected_box,
    reference_camera,
)
from threestudio_like.systems.scene.objects import node_names
from threestudio_like.systems.scene.parts import Part, adopt, apart, mask_box
from threestudio_like.systems.scene.picture import Canvas
from threestudio_like.systems.scene.placement import (
    PlacementConfig,
    PlacementWeights,
    ReferencePicture,
    placement_stage,
)
from threestudio_like.systems.scene.prompt import read_scene
from threestudio_like.systems.scene.segmentation import (
    by_masks,
    grow_boxes,
    hidden_by,
)


def square(height: int = 64, x0: int = 20, y0: int = 24, x1: int = 40, y1: int = 44) -> np.ndarray:
    mask = np.zeros((height, height), np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask


def picture(size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).random((size, size, 3)).astype(np.float32)


class Painter(Inpainter):
    """Paints all green and remembers what it was given."""

    name = "painter"

    def fill(self, picture, mask, prompt, seed):
        self.given = (picture.clone(), mask.clone(), prompt, seed)
        return torch.zeros_like(picture) + torch.tensor([0.1, 0.9, 0.1])


PART = Part("a red ball", square(), np.array([16.0, 20, 52, 50]))


def test_noise_stands_exactly_where_the_object_is_not():
    """I_i equals the object on M_i; noise elsewhere, of the seed; m_i is empty on the object and
    outside the box."""
    config = CompletionConfig(hidden=False)
    task = task_of(picture(), PART, None, config, 3, 96)
    inside = task.mask > 0.5
    assert torch.equal(task.picture[inside], task.given[inside])
    noise = task.picture[~inside]
    assert float(noise.std()) > 0.15
    assert torch.equal(task.picture, task_of(picture(), PART, None, config, 3, 96).picture)
    assert not torch.equal(noise, task_of(picture(), PART, None, config, 4, 96).picture[~inside])
    assert not bool((task.fill[inside] > 0).any())
    x0, y0, x1, y1 = PART.box
    corners = task.frame.to_frame(torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float32)) * 96
    rows, columns = torch.nonzero(task.fill, as_tuple=True)
    assert float(columns.min()) >= float(corners[0, 0]) - 1
    assert float(columns.max()) < float(corners[1, 0]) + 1
    assert float(rows.min()) >= float(corners[0, 1]) - 1
    assert float(rows.max()) < float(corners[1, 1]) + 1


def test_each_part_of_the_completion_can_be_switched_off():
    """Noise, box and text: the paper's ablation."""
    whole = task_of(picture(), PART, None, CompletionConfig(hidden=False), 0, 64)
    white = task_of(picture(), PART, None, CompletionConfig(hidden=False, behind="white"), 0, 64)
    assert bool((white.picture[white.mask < 0.5] == 1).all())
    wide = task_of(picture(), PART, None, CompletionConfig(hidden=False, box=False), 0, 64)
    assert float(wide.fill.sum()) > float(whole.fill.sum())
    assert torch.equal(wide.fill, 1 - wide.mask)
    assert prompt_for(PART, CompletionConfig(text=False), True) == ""
    assert prompt_for(PART, CompletionConfig(), True) == "a red ball"
    assert prompt_for(PART, CompletionConfig(), False) == "a complete 3D model of a red ball"
    assert prompt_for(PART, CompletionConfig(prompt="a ball"), False) == "a ball"
    # Only where something hides the object.
    others = square(64, 40, 24, 60, 44) > 0.5
    hidden = task_of(picture(), PART, others, CompletionConfig(), 0, 64)
    assert 0 < float(hidden.fill.sum()) < float(whole.fill.sum())


def test_what_was_seen_comes_back_as_it_was():
    """The inpainted picture is unchanged on M_i, and outside of what may be filled nothing of it is
    used."""
    painter = Painter()
    done = complete(
        picture(), PART, None, painter, None, CompletionConfig(hidden=False, size=96), 0
    )
    given, mask, prompt, _ = painter.given
    task = task_of(picture(), PART, None, CompletionConfig(hidden=False, size=96), 0, 96)
    assert torch.equal(given[0], task.picture)
    assert torch.equal(mask[0], task.fill)
    assert prompt == "a complete 3D model of a red ball"
    pixels = torch.from_numpy(done.pixels)
    seen, new = task.mask > 0.5, task.fill > 0.5
    assert torch.equal(pixels[..., :3][seen], task.given[seen])
    assert torch.allclose(pixels[..., :3][new], torch.tensor([0.1, 0.9, 0.1]))
    assert bool((pixels[..., 3][seen] == 1).all())
    assert bool((pixels[..., 3][~seen & ~new] == 0).all())


def test_an_object_that_nothing_hides_is_left_alone():
    painter = Painter()
    done = complete(picture(), PART, np.zeros((64, 64), bool), painter, None, CompletionConfig(), 0)
    assert not hasattr(painter, "given")
    assert done.filled == 0


class Flat(OraclePrior):
    """Its pictures are all of one colour."""

    def clean(self, noisy, abar, condition):
        return torch.full_like(noisy, 0.25)


def test_latent_blending_keeps_what_is_known():
    """With an identity autoencoder and an optimal denoiser: the known part to the last digit, the
    rest what the prior wants."""
    blend = LatentBlending(Flat(3, 16), InpaintConfig(steps=5, clamp=0.0, rescale=0.0))
    given = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:9, 3:12] = 1
    found = blend.fill(given, mask, "", 0)
    new = mask[0] > 0.5
    assert torch.allclose(found[0][~new], given[0][~new], atol=1e-6)
    assert torch.allclose(found[0][new], torch.full((3,), 0.25), atol=1e-5)


def camera(size: int = 128, elevation: float = 15.0):
    return reference_camera(3.0, 40.0, elevation, size, size)


def test_first_placement_of_a_box_that_is_the_picture():
    """Box = picture: s = 1 and t_xy = 0 for what spans the picture at the camera's distance; half
    the box: half the scale (larger side)."""
    view = camera(128, 0.0)
    span = 2 * 3.0 * math.tan(math.radians(20))
    body = Body({"m": Mesh(cube(size=1.0).vertices * np.float32(span), cube().faces)})
    paper = LayoutConfig(size="box", surface=False)
    full = initial_transform(
        body, Seen(np.array([0, 0, 128.0, 128]), np.ones((128, 128)), 3.0), view, paper
    )
    assert full.scale == pytest.approx(1.0, rel=1e-5)
    assert np.allclose(full.translation, 0, atol=1e-5)
    half = initial_transform(
        body, Seen(np.array([32.0, 48, 96, 80]), np.ones((128, 128)), 3.0), view, paper
    )
    assert half.scale == pytest.approx(0.5, rel=1e-5)
    near = initial_transform(
        body, Seen(np.array([32.0, 48, 96, 80]), np.ones((128, 128)), 2.0), view, paper
    )
    assert near.translation[2] > half.translation[2] + 0.9
    assert near.scale == pytest.approx(0.5 * 2 / 3, rel=1e-5)


def two_objects(size: int = 128):
    """A scene of a cube and a ball: its camera, bodies, where they stand, and what the picture
    shows of it."""
    view = camera(size)
    bodies = [Body({"m": cube((0.85, 0.3, 0.2))}), Body({"m": ball()})]
    at = [
        Transform(1.1, translation=np.array([-0.4, 0.0, 0.2])),
        Transform(0.8, translation=np.array([0.4, 0.05, -0.3])),
    ]
    scene = PlacedScene(bodies, ["cube", "ball"], at, view.camera_to_world[0])
    with torch.no_grad():
        shown = SceneRenderer().render(
            scene, view, BackgroundSample(torch.full((1, size, size, 3), 0.8))
        )
    visible, alone = own_masks(scene, view)
    depth = shown.depth[0, ..., 0] / shown.opacity[0, ..., 0].clamp_min(1e-3)
    seen = [
        Seen(mask_box(a.float().numpy()), v.float().numpy(), float(depth[v].median()))
        for v, a in zip(visible, alone)
    ]
    reference = ReferencePicture(shown.features[0], shown.opacity[0, ..., 0], view, depth)
    return view, bodies, at, seen, reference


def test_the_first_placement_projects_back_onto_the_picture():
    """Mask IoU above 0.5 (it is above 0.9), box centres within 2 % of the picture, two different
    depths in their order."""
    view, bodies, at, seen, _ = two_objects()
    start = [initial_transform(b, s, view) for b, s in zip(bodies, seen)]
    visible, _ = own_masks(PlacedScene(bodies, ["a", "b"], start, view.camera_to_world[0]), view)
    for body, place, one, mask, true in zip(bodies, start, seen, visible, at):
        assert mask_iou(mask.float().numpy(), one.mask) > 0.9
        box = projected_box(place.apply(body.vertices), view)
        off = np.abs((box[:2] + box[2:] - one.box[:2] - one.box[2:]) / 2).max()
        assert off < 0.02 * 128
        assert np.abs(place.translation - true.translation).max() < 0.12
    assert start[0].translation[2] > start[1].translation[2] + 0.2


def run_stage(stage) -> None:
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan(stage.name, lambda done: stage)]
    )


def test_the_reference_loss_alone_brings_objects_back(toybox_prior):
    """Recovery without a diffusion model: t_xy off by 10 % of the scene and s by 20 %, back within
    1 % and 2 % (z excluded)."""
    view, bodies, at, _, reference = two_objects()
    scene = PlacedScene(bodies, ["a", "b"], at, view.camera_to_world[0])
    true_place, true_size = scene.image_position.detach().clone(), scene.size.detach().clone()
    with torch.no_grad():
        # In the plane of the middle 0.1 of the scene's extent (2) is 0.2 / 3.
        scene.image_position.add_(torch.tensor([[0.06, -0.05], [-0.05, 0.06]]))
        scene.size += torch.tensor([[0.18], [-0.18]])
    config = PlacementConfig(
        guidance="none",
        steps=250,
        rate="0.008->0.0004",
        rate_depth="0",
        resolution=128,
        weights=PlacementWeights(physical=0.0),
    )
    run_stage(placement_stage(scene, read_scene(""), [], toybox_prior, config, reference))
    assert float((scene.image_position - true_place).detach().abs().max()) * 3 / 2 < 0.01
    assert float((scene.size - true_size).detach().abs().max()) < 0.02


class Touching(OraclePrior):
    """A stub denoiser that has seen only pictures of a cube and a ball that stand side by side at
    one depth."""

    def __init__(self, bodies, size: int = 48) -> None:
        super().__init__(3, size)
        self.bodies = bodies

    def clean(self, noisy, abar, condition):
        cameras = condition.cameras.resized(noisy.shape[-1], noisy.shape[-1])
        at = [
            Transform(0.8, translation=np.array([-0.3, 0, 0.0])),
            Transform(0.8, translation=np.array([0.3, 0, 0.0])),
        ]
        scene = PlacedScene(self.bodies, ["a", "b"], at, cameras.camera_to_world[0])
        level = condition.background if condition.background is not None else 0.8
        behind = BackgroundSample(torch.full((len(cameras), *noisy.shape[2:], 3), float(level)))
        with torch.no_grad():
            return SceneRenderer().render(scene, cameras, behind).features.permute(0, 3, 1, 2)


def test_a_denoiser_that_prefers_touching_views_moves_objects_together():
    """The sign of z: what stands too far behind comes forward, what stands too near goes back."""
    bodies = [Body({"m": cube((0.85, 0.3, 0.2))}), Body({"m": ball()})]
    prior = Touching(bodies)
    view = reference_camera(3.0, 40.0, 0.0, 48, 48)
    for off in (-0.5, 0.5):
        at = [
            Transform(0.8, translation=np.array([-0.3, 0, 0.0])),
            Transform(0.8, translation=np.array([0.3, 0, off])),
        ]
        scene = PlacedScene(bodies, ["a", "b"], at, view.camera_to_world[0], "axis")
        config = PlacementConfig(
            guidance="sds",
            steps=40,
            rate="0",
            along="axis",
            resolution=48,
            weights=PlacementWeights(physical=0.0),
        )
        run_stage(placement_stage(scene, read_scene("a cube left of a ball"), [], prior, config))
        moved = scene.transforms()[1].translation[2] - off
        assert moved * off < 0
        assert abs(moved) > 0.1


def test_the_papers_numbers(toybox_prior):
    """Ten views a step, z with ten times the rate of the others, 1000 and 1000 and 1, c = 25,
    guidance in all layers, no physical terms."""
    paper = Comboverse.paper().place
    assert paper.views == 10
    assert float(paper.rate_depth) == pytest.approx(10 * float(paper.rate))
    assert (
        paper.weights.colour,
        paper.weights.opacity,
        paper.weights.spatial,
        paper.weights.physical,
    ) == (
        1000,
        1000,
        1,
        0,
    )
    assert paper.spatial.factor == 25
    assert paper.along == "axis"
    assert paper.layout.size == "box"
    assert not Comboverse.paper().upright
    view, bodies, at, _, reference = two_objects(64)
    scene = PlacedScene(bodies, ["a", "b"], at, view.camera_to_world[0], "axis")
    stage = placement_stage(
        scene,
        read_scene("a red box left of a blue ball"),
        ["left of"],
        toybox_prior,
        paper,
        reference,
    )
    assert {g.name: g.lr for g in stage.groups} == {"depth": "0.01", "others": "0.001"}
    assert sum(p.numel() for g in stage.groups for p in g.parameters) == 14
    assert not any(p.requires_grad for p in toybox_prior.unet.parameters())


def test_ablation_switches(toybox_prior):
    """Depth loss, SDS, SSDS, physical terms: each is there when it is asked for, and only then."""
    view, bodies, at, _, reference = two_objects(64)
    text = read_scene("a red box left of a blue ball")
    from threestudio_like.engine.stage import Step

    def terms(**changes) -> set[str]:
        config = PlacementConfig(
            views=1,
            guidance=changes.pop("guidance", "none"),
            weights=PlacementWeights(**{"physical": 0.0, **changes}),
        )
        scene = PlacedScene(bodies, ["a", "b"], at, view.camera_to_world[0])
        return set(
            placement_stage(scene, text, text.words, toybox_prior, config, reference).loss(
                Step("placement", 0, 1, 0.0, 0)
            )
        )

    assert terms() == {"reference"}
    assert terms(depth=1.0) == {"reference", "depth"}
    assert terms(guidance="sds") == {"reference", "spatial"}
    assert terms(guidance="ssds") == {"reference", "spatial"}
    assert {"reference", "penetration", "support", "stability"} == terms(physical=1.0)


def test_which_object_hides_which():
    one, two = (
        Part("a", square(64, 10, 20, 30, 40), np.zeros(4)),
        Part("b", square(64, 30, 20, 50, 40), np.zeros(4)),
    )
    depth = np.where(np.arange(64)[None] < 30, 2.0, 3.0).repeat(64, 0).reshape(64, 64)
    depth = np.broadcast_to(np.where(np.arange(64) < 30, 2.0, 3.0), (64, 64))
    assert hidden_by([one, two], depth) == [(0, 1)]
    assert hidden_by([one, two], -depth) == [(1, 0)]
    far = Part("c", square(64, 55, 50, 62, 60), np.zeros(4))
    assert hidden_by([one, far], depth) == []


def test_what_stands_on_a_thing_is_hidden_by_nothing_of_it():
    """However near the front edge of a barrel is, the lamp on it is seen to its foot: to complete
    it would give it a second one. With the roles changed, the barrel is still the one behind."""
    lamp = Part("a lamp", square(64, 26, 6, 38, 30), np.zeros(4))
    barrel = Part("a barrel", square(64, 18, 30, 46, 60), np.zeros(4))
    near_barrel = np.broadcast_to(np.where(np.arange(64) < 30, 3.0, 2.0)[:, None], (64, 64))
    for depth in (near_barrel, -near_barrel):
        text = read_scene("a yellow lamp on a yellow barrel")
        assert hidden_by([lamp, barrel], depth, text) == [(0, 1)]


def test_things_beside_each_other_may_meet_and_hide_nothing():
    """A house that touches a table's leg is whole; where the leg covers some of it, it is not."""
    text = read_scene("a red table left of a red house")
    depth = np.zeros((64, 64))
    table = Part("a red table", square(64, 4, 20, 30, 52), np.zeros(4))
    house = Part("a red house", square(64, 30, 24, 56, 48), np.zeros(4))
    assert hidden_by([table, house], depth, text) == []
    assert hidden_by([table, house], depth) == [(0, 1)]
    mask = square(64, 24, 24, 56, 48)
    mask[24:48, 24:30] = 0
    mask[24:40, 22:24] = 1
    behind = Part("a red house", mask, np.zeros(4))
    assert hidden_by([table, behind], depth, text) == [(0, 1)]


def test_boxes_of_hidden_objects_grow_over_what_hides_them():
    front, back = (
        Part("a", square(64, 10, 20, 30, 40), np.array([10.0, 20, 30, 40])),
        Part("b", square(64, 30, 20, 50, 40), np.array([30.0, 20, 50, 40])),
    )
    grow_boxes([front, back], [(0, 1)], 0.35)
    assert back.box.tolist() == [23, 20, 50, 40]
    assert front.box.tolist() == [10, 20, 30, 40]


def test_what_stands_out_and_hangs_on_one_object_is_a_part_of_it():
    """A robot's grey arms, of whose body the segmenter was surer; a piece between two objects, one
    that hangs on nothing and one as large as the object itself are left."""

    def part(*edges):
        return Part("", square(64, *edges), np.zeros(4))

    def found(*pieces):
        parts = [part(20, 10, 34, 40), part(46, 10, 60, 40)]
        foreground = np.any([p.mask > 0.5 for p in parts], 0)
        for left, top, right, bottom in pieces:
            foreground[top:bottom, left:right] = True
        grown = adopt([replace(p, mask=p.mask.copy()) for p in parts], foreground)
        return [int((g.mask > 0.5).sum() - (p.mask > 0.5).sum()) for g, p in zip(grown, parts)]

    grown, other = found((14, 14, 20, 30))
    # Of 96 pixels; corners are rounded off.
    assert grown > 88
    assert other == 0
    assert found((34, 14, 46, 30)) == [0, 0]
    assert found((4, 50, 12, 60)) == [0, 0]
    assert found((2, 10, 20, 40)) == [0, 0]


@pytest.mark.parametrize(("noise", "smooth"), [(0.004, True), (0.1, False)])
def test_before_a_gradient_colours_tell_what_stands_out_and_what_is_shadow(noise, smooth):
    """A pale panel before a backdrop stands out, its shadow does not; before clutter nothing is
    told."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:96, 0:96] / 96
    picture = np.stack([0.5 + 0.3 * y, 0.7 - 0.3 * x, 0.6 + 0.1 * y], -1)
    picture[60:70, 30:80] *= 0.7
    picture[30:60, 30:60] = 0.55, 0.55, 0.7
    picture = (picture + noise * rng.normal(size=picture.shape)).clip(0, 1).astype(np.float32)
    found = np.zeros((96, 96), bool)
    found[30:70, 30:80] = True
    told = before_gradient(picture, found)
    assert told[30:60, 30:60].mean() == (1.0 if smooth else 0.0)
    assert told[60:70, 30:80].mean() < 0.02
    assert not told[:30].any()


def test_a_small_thing_within_a_large_one_keeps_its_pixels():
    """A ball under a table lies within what a box about the table shows, and however sure that is
    of it, the ball's pixels are the ball's; two things that merely overlap share as ever."""

    def square(low, high, value):
        mask = np.zeros((40, 40), np.float32)
        mask[low:high, low:high] = value
        return Part("", mask, mask_box(mask))

    table, ball = apart([square(4, 36, 0.95), square(16, 24, 0.7)])
    assert (ball.mask > 0.5).sum() == 64
    assert (table.mask > 0.5).sum() == 32 * 32 - 64
    # Half of it lies beside: the surer one has what both claim.
    one, two = apart([square(4, 30, 0.95), square(26, 36, 0.7)])
    assert (one.mask > 0.5).sum() == 26 * 26
    assert (two.mask > 0.5).sum() == 100 - 16
    # Of things of one size the surer one has all of it.
    one, two = apart([square(4, 30, 0.95), square(4, 28, 0.7)])
    assert (one.mask > 0.5).sum() == 26 * 26
    assert not (two.mask > 0.5).any()


def test_masks_are_made_disjoint():
    parts = apart(
        [
            Part("a", square(64, 10, 10, 40, 40) * 0.8, np.zeros(4)),
            Part("b", square(64, 20, 20, 30, 30) * 0.9, np.zeros(4)),
        ]
    )
    assert not ((parts[0].mask > 0) & (parts[1].mask > 0)).any()
    assert (parts[1].mask > 0).sum() == 100


def test_the_canvas_is_a_square_and_boxes_move_along():
    canvas = Canvas.of(np.zeros((40, 80, 3), np.float32), "x")
    assert canvas.pixels.shape == (80, 80, 3)
    assert canvas.box(np.array([0.0, 0, 80, 40])).tolist() == [0, 20, 80, 60]
    assert canvas.mask(np.ones((40, 80)))[20:60].all()
    clear = np.zeros((40, 40, 4), np.float32)
    with pytest.raises(InputError, match="every pixel is transparent"):
        Canvas.of(clear, "x")
    clear[10:20, 10:20] = 1
    assert Canvas.of(clear, "x").foreground is not None


def test_names_of_nodes():
    assert node_names(["a red ball", "the red ball", "", "An OLD chair!"]) == [
        "red_ball",
        "red_ball_2",
        "object_3",
        "old_chair",
    ]


def test_masks_have_to_be_as_many_as_the_prompt_names():
    with pytest.raises(ConfigError, match="fewer objects than the 2"):
        by_masks(np.stack([square()]), read_scene("a ball on a box"))
    with pytest.raises(ConfigError, match="more objects than the 1"):
        by_masks(np.stack([square(), square()]), read_scene("a ball"))
    with pytest.raises(InputError, match="mask 1 is empty"):
        by_masks(np.zeros((1, 64, 64)), read_scene(""))


@pytest.mark.parametrize("said", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "left"])
def test_boxes_that_are_none(said):
    with pytest.raises(ConfigError, match="is not a box"):
        read_boxes((said,))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A picture of a cube and a ball, their masks and their meshes."""
    folder = tmp_path_factory.mktemp("scene")
    _, bodies, _, seen, reference = two_objects()
    Image.fromarray((reference.picture.numpy() * 255).round().astype(np.uint8)).save(
        folder / "scene.png"
    )
    (folder / "masks").mkdir()
    for number, one in enumerate(seen):
        Image.fromarray((one.mask * 255).astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    for name, body in zip(("cube", "ball"), bodies):
        Asset({name: next(iter(body.meshes.values()))}).save(folder / f"{name}.glb")
    return folder


PROMPT = "a red box left of a blue ball"


def with_own_meshes(
    files: Path, cube_file: Path, ball_file: Path, out: Path, steps: int, more: str = ""
) -> int:
    """`compose` of the picture with two meshes, by the command line; its exit code."""
    line = (
        f"compose {files / 'scene.png'} PROMPT --masks {files / 'masks'} --objects {cube_file} "
        f"{ball_file} --elevation 15"
    )
    words = f"{line} --steps {steps} --place.views 1 --out {out} --quiet {more}".split()
    return main([PROMPT if w == "PROMPT" else w for w in words])


def test_compose_with_own_meshes_from_the_command_line(files, tmp_path, capsys):
    """A GLB with one node an object that carries its scale, rotation and translation, near where it
    stood; report and pictures beside it."""
    before = {p: p.read_bytes() for p in files.rglob("*") if p.is_file()}
    assert with_own_meshes(files, files / "cube.glb", files / "ball.glb", tmp_path / "run", 3) == 0
    asset = Asset.load(tmp_path / "run" / "asset.glb")
    assert list(asset.nodes) == ["red_box", "blue_ball"]
    for node, at, extent in zip(asset.nodes.values(), two_objects()[2], (0.5, 1.0)):
        vertices = np.concatenate([node.transform.apply(m.vertices) for m in node.meshes.values()])
        middle = (vertices.min(0) + vertices.max(0)) / 2
        assert np.abs(middle[:2] - at.translation[:2]).max() < 0.12
        assert np.ptp(vertices, axis=0).max() == pytest.approx(extent * at.scale, rel=0.4)
    for name in ("preview.png", "report.html", "run.yaml", "turntable.mp4"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    events = [
        json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    ]
    figures = next(e for e in events if e["event"] == "asset")
    assert figures["reference: IoU of all"] > 0.85
    assert figures[f"said: {PROMPT}"] == "holds"
    assert {"penetration depth", "floating distance"} <= set(figures)
    assert {p: p.read_bytes() for p in files.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("free", [False, True])
def test_objects_of_a_picture_turn_about_the_vertical_alone(free, files, tmp_path):
    """A wrong shape leans to look more like the picture, if it may."""
    said = f"--place.stand false --no-turntable --upright {str(not free).lower()}"
    meshes = files / "ball.glb", files / "cube.glb"
    assert with_own_meshes(files, *meshes, tmp_path / "run", 3, said) == 0
    nodes = Asset.load(tmp_path / "run" / "asset.glb").nodes.values()
    lean = max(1 - node.transform.linear[1, 1] for node in nodes)
    assert lean > 1e-6 if free else lean < 1e-9


def test_compose_by_text_with_own_meshes(files, tmp_path):
    """Layout by text alone, from several starts; the best is kept, and each start is told."""
    out = tmp_path / "run"
    arguments = [
        "--text",
        PROMPT,
        "--objects",
        str(files / "cube.glb"),
        str(files / "ball.glb"),
        "--starts",
        "2",
        "--steps",
        "2",
    ]
    assert main(["compose", *arguments, "--place.views", "1", "--out", str(out), "--quiet"]) == 0
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    starts = [e["score"] for e in events if e["event"] == "start"]
    figures = next(e for e in events if e["event"] == "asset")
    assert len(starts) == 2
    assert figures["score"] == max(starts)
    assert list(Asset.load(out / "asset.glb").nodes) == ["red_box", "blue_ball"]


def test_compose_reconstructs_its_objects(files, tmp_path):
    """Everything, short: masks, completion of what is hidden, each object by G3DR in a folder of
    its own, placement."""
    out = tmp_path / "run"
    arguments = [
        str(files / "scene.png"),
        PROMPT,
        "--masks",
        str(files / "masks"),
        "--method",
        "g3dr",
        "--steps",
        "2",
        "--place.views",
        "1",
    ]
    assert (
        main(
            [
                "compose",
                *arguments,
                "--completion.inpaint.steps",
                "2",
                "--texture",
                "128",
                "--out",
                str(out),
                "--quiet",
            ]
        )
        == 0
    )
    assert {p.name for p in (out / "objects").iterdir()} == {"red_box", "blue_ball"}
    assert (out / "objects" / "red_box" / "asset.glb").is_file()
    assert list(Asset.load(out / "asset.glb").nodes) == ["red_box", "blue_ball"]
    # Going on with a finished run makes no object again.
    stamp = (out / "objects" / "red_box" / "asset.glb").stat().st_mtime_ns
    assert (
        main(
            [
                "compose",
                *arguments,
                "--completion.inpaint.steps",
                "2",
                "--texture",
                "128",
                "--out",
                str(out),
                "--quiet",
                "--resume",
            ]
        )
        == 0
    )
    assert (out / "objects" / "red_box" / "asset.glb").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["nothing.png"], "there is no such file"),
        ([], "wants a picture"),
        (
            ["SCENE", "a red ball on a blue box", "--boxes", "0,0,20,20", "300,10,400,60"],
            "leaves the picture",
        ),
        (["SCENE", "a red ball on a blue box", "--boxes", "0,0,20,20"], "fewer objects than the 2"),
        (["SCENE", "a red ball", "--boxes", "0,0,20,20", "30,30,60,60"], "more objects than the 1"),
        (
            ["SCENE", "a red ball on a blue box", "--boxes", "5,5,5,20", "30,30,60,60"],
            "empty or smaller",
        ),
        (["SCENE", "a red ball on a blue box and a blue box on a red ball"], "contradicts itself"),
        (
            ["SCENE", "a red ball on a blue box", "--spatial-words", "under"],
            'does not contain "under"',
        ),
        (["SCENE", "a red ball on a blue box", "--fov", "170"], "must be from 5 to 120"),
        (["SCENE", "a red ball on a blue box", "--masks", "nowhere"], "there is no such folder"),
        (["SCENE", "a red unicorn on a blue box"], "does not know"),
        (
            ["SCENE", "", "--boxes", *[f"{k},{k},{k + 30},{k + 30}" for k in range(20)]],
            "more than the 12 objects",
        ),
        (["CLEAR", "a red ball on a blue box"], "every pixel is transparent"),
        (["FLAT", "a red ball on a blue box"], "can be found in it"),
        (["SCENE", "a red ball", "--text", "a red ball on a blue box"], "goes without a picture"),
        (["--text", "a red ball"], "names 1 object"),
        (["--text", "a red ball on a blue box", "--boxes", "0,0,9,9"], "belongs to a picture"),
        (["--text", "a red ball on a blue box", "--fov", "40"], "--fov: belongs to a picture"),
        (["--text", "a red ball on a blue box", "--elevation", "0"], "belongs to a picture"),
        (
            ["--text", "a red ball on a blue box", "--objects", "one.glb"],
            "gives 1 meshes, the prompt names 2",
        ),
        (["SCENE", "a red ball on a blue box", "--segmenter", "x"], 'there is no model "x"'),
        (
            ["SCENE", "a red ball on a blue box", "--decompose.segmenter", "nowhere"],
            'there is no model "nowhere"',
        ),
    ],
)
def test_bad_input_gets_one_line_with_what_to_do(change, message, files, tmp_path, capsys):
    Image.fromarray(np.zeros((40, 40, 4), np.uint8)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((80, 80, 3), 200, np.uint8)).save(tmp_path / "flat.png")
    names = {
        "SCENE": str(files / "scene.png"),
        "CLEAR": str(tmp_path / "clear.png"),
        "FLAT": str(tmp_path / "flat.png"),
    }
    assert (
        main(
            [
                "compose",
                *[names.get(a, a) for a in change],
                "--out",
                str(tmp_path / "run"),
                "--quiet",
            ]
        )
        == 2
    )
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "run" / "asset.glb").exists()


def test_meshes_of_very_different_scale_become_alike(tmp_path, files):
    """A mesh of kilometres and one of millimetres are placed as the picture has them."""
    small, large = cube(), ball()
    small.vertices, large.vertices = (
        small.vertices * np.float32(1e-3),
        large.vertices * np.float32(1e3) + np.float32(500),
    )
    Asset({"cube": small}).save(tmp_path / "small.glb")
    Asset({"ball": large}).save(tmp_path / "large.glb")
    assert (
        with_own_meshes(files, tmp_path / "small.glb", tmp_path / "large.glb", tmp_path / "run", 1)
        == 0
    )
    meshes = Asset.load(tmp_path / "run" / "asset.glb").meshes
    assert np.ptp(meshes["red_box"].vertices, axis=0).max() == pytest.approx(0.55, rel=0.4)
    assert np.ptp(meshes["blue_ball"].vertices, axis=0).max() == pytest.approx(0.8, rel=0.4)


def test_the_square_of_a_box():
    assert task_of(picture(), PART, None, CompletionConfig(margin=0.0), 0, 8).frame == Similarity(
        34.0, 35.0, 36.0
    )


def test_only_the_papers_preset_emphasises_spatial_words():
    """Whatever the prior: emphasis brought none more relations; values the user gives stay."""
    from threestudio_like.commands.compose import Compose
    from threestudio_like.commands.jobs.compose import configuration_of
    from threestudio_like.runs.options import MethodOptions

    def place(preset: str = "auto", **values: str):
        given = {f"place.spatial.{key}": value for key, value in values.items()}
        return configuration_of(Compose(method=MethodOptions(preset=preset), set=given)).place

    for preset in ("auto", "default"):
        plain = place(preset)
        assert (plain.spatial.factor, plain.along) == (1, "ray")
        assert (plain.spatial.score.t_min, plain.spatial.score.t_max) == ("0.02", "0.98")
        assert plain.spatial.score.joint_views
    paper = place("paper")
    assert (paper.spatial.factor, paper.along) == (25, "axis")
    assert (paper.spatial.score.t_min, paper.spatial.score.t_max) == ("0.8", "0.9")
    assert place(factor="7").spatial.factor == 7


def test_behind_an_object_stands_the_grey_from_which_it_is_told_best():
    """A prior that knows greys alone gets one far from the object's colours, and what differs from
    it is the object."""
    dark = np.full((64, 64, 3), 0.2, np.float32)
    part = Part("a black ball", square(), np.array([16.0, 20, 52, 50]))
    task = task_of(dark, part, None, CompletionConfig(hidden=False), 0, 96, (0.25, 1.0))
    assert task.plain
    assert task.behind == pytest.approx(1.0)
    assert bool((task.picture[task.mask < 0.5] == task.behind).all())
    painter = Painter()
    painter.greys = (0.25, 1.0)
    done = complete(dark, part, None, painter, None, CompletionConfig(hidden=False, size=96), 0)
    new = (task.fill > 0.5).numpy()
    assert (done.pixels[..., 3][new] > 0.5).mean() > 0.9
    assert not task_of(
        dark, part, None, CompletionConfig(hidden=False, behind="noise"), 0, 96, (0.25, 1.0)
    ).plain


def test_of_several_starts_the_one_that_keeps_the_words_is_chosen():
    """A scene whose relation holds is better than the same one the other way round."""
    from threestudio_like.systems.scene.comboverse import scene_score

    view, bodies, _, _, _ = two_objects(64)
    text = read_scene("a red box left of a blue ball")
    scores = []
    for side in (-0.5, 0.5):
        at = [
            Transform(0.4, translation=np.array([side, 0.0, 0.0])),
            Transform(0.4, translation=np.array([-side, 0.0, 0.0])),
        ]
        scene = PlacedScene(bodies, ["a", "b"], at, view.camera_to_world[0], "axis")
        scores.append(scene_score(scene, text, text.prompt, Comboverse()))
    assert [s["relations"] for s in scores] == [1.0, 0.0]
    assert scores[0]["score"] > scores[1]["score"] + 0.5


def test_an_object_below_the_middle_is_looked_down_on_more_steeply():
    """By as much as the ray through its box says: half the field of view at the picture's edge."""
    middle, edge = np.array([10.0, 40, 20, 60]), np.array([10.0, 90, 20, 110])
    assert looks_down(middle, 40.0, 100) == pytest.approx(0.0)
    assert looks_down(edge, 40.0, 100) == pytest.approx(20.0)
    assert looks_down(edge - 100 * np.array([0, 1, 0, 1]), 40.0, 100) == pytest.approx(-20.0)


@pytest.mark.parametrize(("said", "known"), [(30.0, math.radians(30)), (None, None)])
def test_objects_are_told_from_where_the_scene_is_seen(said, known, monkeypatch, tmp_path):
    """What --elevation says reaches the run that makes an object, which knows that its picture is
    a part of a larger one."""
    from types import SimpleNamespace

    from threestudio_like.commands.compose import Compose
    from threestudio_like.commands.jobs import compose_objects
    from threestudio_like.systems.scene.amodal_completion import Completed

    asked = []
    monkeypatch.setattr(
        compose_objects, "reconstruct_image", lambda _, picture, hear: asked.append(picture())
    )
    monkeypatch.setattr(compose_objects.ObjectMaker, "_opened", lambda *_: None)
    run = SimpleNamespace(
        folder=tmp_path,
        options=Compose(picture="scene.png"),
        events=SimpleNamespace(status=lambda *_, **__: None),
    )
    pixels = np.zeros((32, 32, 4), np.float32)
    pixels[8:24, 8:24] = 1
    maker = compose_objects.ObjectMaker(run=run, prior=None)
    part = Part("a white box", pixels[..., 3], np.array([8.0, 8, 24, 24]))
    maker.reconstruct("box", part, Completed(pixels, None), elevation=said)
    assert asked[0].known.elevation == (known if known is None else pytest.approx(known))
    assert asked[0].part
