"""CISP and IC3D: the checklist of METHODS 2.10, the pictures' way in, and `reconstruct` and `train`
from the command line."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from threestudio_like.engine.errors import CheckpointError, ConfigError, InputError, ModelError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan, Step
from threestudio_like.engine.random import RandomStream
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.voxels import read_binvox, to_mesh, voxelise, write_binvox
from threestudio_like.metrics.point_sets import (
    bootstrap,
    chamfer_squared,
    earth_movers,
    f_score,
    frechet,
    set_metrics,
    voxel_iou,
)
from threestudio_like.priors.data.pairs import ShapeNetPairs, Skipped, split_of, usable
from threestudio_like.priors.framing import Similarity, boxes, cut, framed, released, similarities
from threestudio_like.priors.networks.contrastive import (
    Contrastive,
    ContrastiveConfig,
    TextConfig,
    contrastive_loss,
    recall,
)
from threestudio_like.priors.networks.patch_transformer import (
    ConvEncoder,
    EncoderConfig,
    PatchTransformer,
    TextEncoder,
)
from threestudio_like.priors.networks.voxel_unet import (
    VoxelAttention,
    VoxelUNet,
    VoxelUNetConfig,
    fold,
    unfold,
)
from threestudio_like.priors.voxel_diffusion import (
    VoxelDiffusion,
    VoxelDiffusionConfig,
    VoxelSampling,
    lerp,
    slerp,
)
from threestudio_like.toybox.pairs import ToyPairs, pictures_of
from threestudio_like.training.contrastive import (
    Bank,
    BatchSource,
    ContrastiveTraining,
    contrastive_stage,
    overlaps,
    retrieval,
)
from threestudio_like.training.shapes import (
    TrainingOptions,
    contrastive_config,
    train_contrastive,
    voxel_config,
)


def small(against="shape"):
    return ContrastiveConfig(
        against=against,
        width=32,
        image=EncoderConfig(
            dims=2,
            kind="transformer",
            size=32,
            patch=8,
            width=48,
            depth=2,
            heads=4,
            leading=2,
            stem="linear",
            init=0.1,
        ),
        shape=EncoderConfig(
            dims=3,
            kind="transformer",
            size=32,
            patch=8,
            width=48,
            depth=2,
            heads=4,
            leading=1,
            stem="linear",
            init=0.1,
        ),
        text=TextConfig(vocabulary=50, end=2, tokens=8, width=48, depth=2, heads=4),
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return ToyPairs(tmp_path_factory.mktemp("pairs"), 31, 64)


# METHODS 2.10, line 1


def test_shape_encoder_has_the_released_layout():
    with torch.device("meta"):
        encoder = PatchTransformer(EncoderConfig.deit_3d())
        count = sum(p.numel() for p in encoder.parameters())
    assert tuple(encoder.patches.weight.shape) == (384, 1, 8, 8, 8)
    assert count == pytest.approx(21.5e6, rel=0.01)
    encoder = PatchTransformer(
        EncoderConfig(
            dims=3, kind="transformer", size=32, patch=8, width=48, depth=2, heads=4, leading=1
        )
    ).eval()
    assert encoder.tokens(torch.zeros(2, 1, 32, 32, 32)).shape == (2, 65, 48)


def test_permuting_patches_with_their_positions_leaves_the_class_token():
    torch.manual_seed(0)
    encoder = PatchTransformer(
        EncoderConfig(
            dims=3, kind="transformer", size=32, patch=8, width=48, depth=2, heads=4, leading=1
        )
    ).eval()
    x = torch.rand(1, 1, 32, 32, 32)
    before = encoder(x)
    swapped = x.clone()
    swapped[..., :8, :8, :8], swapped[..., 8:16, :8, :8] = x[..., 8:16, :8, :8], x[..., :8, :8, :8]
    assert not torch.allclose(encoder(swapped), before, atol=1e-5)
    with torch.no_grad():
        rows = encoder.position[0, [1, 17]].clone()
        encoder.position[0, 1], encoder.position[0, 17] = rows[1], rows[0]
    assert torch.allclose(encoder(swapped), before, atol=1e-5)


def test_a_text_is_read_up_to_its_end():
    torch.manual_seed(0)
    encoder = TextEncoder(20, 8, 1, 16, 2, 2).eval()
    one, two = torch.tensor([[3, 4, 1, 1, 1, 1]]), torch.tensor([[3, 4, 1, 7, 9, 1]])
    assert torch.allclose(encoder(one), encoder(two), atol=1e-6)
    assert not torch.allclose(encoder(one), encoder(torch.tensor([[4, 3, 1, 1, 1, 1]])), atol=1e-4)


def test_the_convolutional_encoder_is_about_as_large():
    for config in (
        EncoderConfig(dims=3, kind="cnn", size=32, patch=8, width=128, depth=5, heads=4, leading=1),
        EncoderConfig(dims=2, kind="cnn", size=64, patch=8, width=128, depth=5, heads=4, leading=2),
    ):
        other = EncoderConfig(
            dims=config.dims,
            kind="transformer",
            size=config.size,
            patch=8,
            width=128,
            depth=5,
            heads=4,
            leading=config.leading,
        )
        sizes = [
            sum(p.numel() for p in kind(c).parameters())
            for kind, c in ((ConvEncoder, config), (PatchTransformer, other))
        ]
        assert 0.6 < sizes[0] / sizes[1] < 1.2


# line 2


def test_contrastive_loss_at_its_known_points():
    random = torch.nn.functional.normalize(
        torch.randn(2, 512, 256, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    assert float(contrastive_loss(random[0], random[1], torch.tensor(0.0))) == pytest.approx(
        math.log(512), rel=0.02
    )
    eye = torch.eye(64)
    assert float(contrastive_loss(eye, eye, torch.tensor(math.log(100)))) < 1e-3
    loss = contrastive_loss(random[0], random[1], torch.tensor(2.0))
    assert torch.allclose(loss, contrastive_loss(random[1], random[0], torch.tensor(2.0)))
    # Scaling a vector changes nothing: the loss normalises.
    assert torch.allclose(loss, contrastive_loss(3 * random[0], random[1], torch.tensor(2.0)))


def test_equal_entries_are_no_negatives():
    a = torch.eye(4)[[0, 0, 1, 2]]
    same = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    scale = torch.tensor(math.log(100))
    assert float(contrastive_loss(a, a, scale)) > 0.3
    assert float(contrastive_loss(a, a, scale, same)) == pytest.approx(math.log(2) / 2, abs=1e-3)


def test_temperature_is_limited_in_place_and_stays_with_the_optimiser():
    model = Contrastive(small())
    parameter = model.log_scale
    optimiser = torch.optim.Adam(model.parameters(), lr=1.0)
    assert float(parameter.detach()) == pytest.approx(math.log(1 / 0.07))
    for _ in range(12):
        optimiser.zero_grad()
        (-parameter).backward()
        optimiser.step()
        model.clamp()
        assert float(parameter.detach().exp()) <= 100.001
    assert model.log_scale is parameter
    assert any(parameter is p for g in optimiser.param_groups for p in g["params"])


# line 3


def test_overfit_retrieves_every_pair(tmp_path):
    pairs = ToyPairs(tmp_path, 31, 24)
    config = ContrastiveTraining(
        model=small(),
        steps=150,
        batch=24,
        rate="cos 1e-3->1e-4",
        jitter=0.0,
        read_out="0",
        categories=0,
    )
    torch.manual_seed(0)
    model = Contrastive(config.model)
    source = BatchSource(pairs, config)
    source.source.views = lambda index: 1
    stage = contrastive_stage("cisp", model, source)
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("cisp", lambda done: stage)]
    )
    model.eval()
    figures = retrieval(model, source, 24)
    assert figures["image to shape recall@1"] == 1
    assert figures["shape to image recall@1"] == 1


def test_a_batch_of_a_few_categories_has_objects_where_most_categories_have_none(tmp_path):
    few = ToyPairs(tmp_path, 0, 5)
    there = {few.category_of(n) for n in range(len(few))}
    config = ContrastiveTraining(model=small(), steps=1, batch=4, categories=2)
    source = BatchSource(few, config)
    assert 2 < len(there) < len(few.categories)
    for index in range(40):
        batch = source.draw(Step("cisp", index, 40, 0.0, 0))
        drawn = {few.category_of(int(n)) for n in batch.objects}
        assert len(batch.objects) >= len(drawn) == 2


def test_a_locked_encoder_stays_and_pictures_are_held_against_all_objects(pairs):
    config = ContrastiveTraining(
        model=small(),
        steps=120,
        batch=32,
        rate="cos 1e-3->1e-4",
        jitter=0.0,
        read_out="0",
        categories=0,
        locked=True,
    )
    torch.manual_seed(0)
    model = Contrastive(config.model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    source = BatchSource(pairs, config)
    source.source.views = lambda index: 1
    stage = contrastive_stage("cisp", model, source)
    bank = Bank(model, source)
    batch = source.pick(torch.tensor([3, 9]), torch.tensor([0, 0]), None)
    one = model.embed(batch.images)
    # Two pictures against 64 objects, by hand; equal shapes share the mass.
    voxels = source.others(torch.arange(64))
    logits = contrastive_logits(one, model.embed_other(voxels), model.log_scale)
    wanted = 0.0
    for row, number in zip(logits.log_softmax(1), (3, 9)):
        equal = torch.stack([(v == voxels[number]).all() for v in voxels])
        wanted = wanted - float(row[equal].mean().detach()) / 2
    assert float(bank.loss(one, model.log_scale, batch.objects).detach()) == pytest.approx(
        wanted, rel=1e-4
    )
    first = retrieval(model.eval(), source, 64)["image to shape recall@5"]
    model.train()
    Loop(None, Events(None, "quiet"), LoopSettings(seed=0)).run(
        [StagePlan("cisp", lambda done: stage)]
    )
    after = model.eval().state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("other"))
    assert not torch.equal(before["image_head.0.weight"], after["image_head.0.weight"])
    assert retrieval(model, source, 64)["image to shape recall@5"] > first + 0.3
    del source.source.views


def contrastive_logits(one, two, log_scale):
    return (
        log_scale.exp()
        * torch.nn.functional.normalize(one, dim=-1)
        @ torch.nn.functional.normalize(two, dim=-1).t()
    )


def test_overlaps_are_the_ious_of_pairs():
    voxels = torch.zeros(3, 4, 4, 4, dtype=torch.bool)
    voxels[0, :2], voxels[1, :3] = True, True
    wanted = torch.tensor([[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 0]])
    assert torch.allclose(overlaps(voxels), wanted)


def test_recall_counts_what_is_alike():
    a = torch.eye(3)
    b = torch.eye(3)[[1, 0, 2]]
    assert recall(a, b, at=(1,))["recall@1"] == pytest.approx(1 / 3)
    alike = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    assert recall(a, b, alike, (1,))["recall@1"] == 1


# line 4


def test_released_picture_transform():
    picture = np.zeros((1, 137, 137, 4), np.uint8)
    picture[0, 40:90, 40:90] = (255, 0, 0, 255)
    out = released(torch.from_numpy(picture)) * 2 - 1
    assert out.shape == (1, 224, 224, 3)
    assert float(out[0, 0, 0, 0]) == pytest.approx(240 / 255 * 2 - 1, abs=1e-6)
    assert float(out[0, 0, 0, 0]) == pytest.approx(0.882, abs=1e-3)
    assert torch.allclose(out[0, 112, 112], torch.tensor([1.0, -1.0, -1.0]))


def test_framing_centres_the_object_and_can_be_undone():
    picture = np.zeros((1, 80, 120, 4), np.uint8)
    picture[0, 10:30, 70:110] = (0, 200, 0, 255)
    x = torch.from_numpy(picture)
    box = boxes(x[..., 3].float() / 255)
    assert box.tolist() == [[70, 10, 110, 30]]
    similarity = similarities(box, 0.8)[0]
    assert similarity == Similarity(90, 20, 50)
    place = torch.tensor([[0.1, 0.9]])
    assert torch.allclose(similarity.to_frame(similarity.to_source(place)), place)
    out = framed(x, 100, 0.5, fill=0.8)[0]
    inside = out[..., 1] > 0.7
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    assert abs(int(columns[0]) - 10) <= 1
    assert abs(int(columns[-1]) - 89) <= 1
    assert abs(int(rows[0]) - 30) <= 1
    assert torch.allclose(out[0, 0], torch.full((3,), 0.5))
    assert cut(torch.ones(1, 1, 10, 10), [Similarity(5, 5, 20)], 20)[0, 0, 0, 0] == 0


# line 5


def test_the_released_unet_has_its_size_and_starts_at_zero():
    with torch.device("meta"):
        unet = VoxelUNet(VoxelUNetConfig())
    assert sum(p.numel() for p in unet.parameters()) == pytest.approx(83e6, rel=0.02)
    torch.manual_seed(0)
    for config in (
        VoxelUNetConfig(
            resolution=16,
            patch=1,
            width=16,
            multipliers=(1, 2),
            blocks=1,
            attention=(8,),
            groups=8,
            heads=1,
            embedding=8,
            tokens=4,
            token_width=16,
            time_width=32,
        ),
        VoxelUNetConfig(
            resolution=16,
            patch=2,
            width=16,
            multipliers=(1, 2),
            blocks=1,
            attention=(4,),
            groups=8,
            heads=2,
            embedding=8,
            tokens=4,
            token_width=16,
            time_width=32,
            classes=3,
        ),
    ):
        x = torch.randn(2, 1, 16, 16, 16)
        out = VoxelUNet(config)(x, torch.tensor([3, 700]), torch.randn(2, 8))
        assert out.shape == x.shape
        assert torch.equal(out, torch.zeros_like(out))


def test_attention_sees_the_embedding_in_front_of_the_voxels(monkeypatch):
    seen = []
    original = torch.Tensor.softmax
    monkeypatch.setattr(
        torch.Tensor,
        "softmax",
        lambda self, dim: seen.append(self.shape[-2:]) or original(self, dim),
    )
    unet = VoxelUNet(
        VoxelUNetConfig(
            resolution=32,
            patch=1,
            width=8,
            multipliers=(1, 1, 1, 1),
            blocks=1,
            attention=(8, 4),
            groups=8,
            heads=1,
            embedding=8,
        )
    )
    unet(torch.randn(1, 1, 32, 32, 32), torch.tensor([1]), torch.randn(1, 8))
    assert {tuple(s) for s in seen} == {(512, 512 + 4), (64, 64 + 4)}
    layer = VoxelAttention(8, 16, 2, 8)
    torch.nn.init.ones_(layer.out.weight)
    x, tokens = torch.randn(1, 8, 2, 2, 2), torch.randn(1, 16, 4)
    assert not torch.allclose(layer(x, tokens), layer(x, tokens + 1))


def test_cells_are_folded_there_and_back():
    x = torch.randn(2, 1, 8, 8, 8)
    assert fold(x, 2).shape == (2, 8, 4, 4, 4)
    assert torch.equal(unfold(fold(x, 2), 2), x)
    assert torch.equal(fold(x, 2)[0, :, 1, 2, 3], x[0, 0, 2:4, 4:6, 6:8].reshape(-1))


# line 6


def tiny_diffusion(signed=False, prediction="epsilon", classes=0):
    torch.manual_seed(0)
    unet = VoxelUNetConfig(
        resolution=8,
        patch=2,
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(4, 2),
        groups=8,
        heads=2,
        embedding=6,
        tokens=2,
        token_width=16,
        time_width=32,
        classes=classes,
    )
    return VoxelDiffusion(VoxelDiffusionConfig(unet=unet, prediction=prediction, signed=signed))


def stir(model):
    """Weights that are not zero anywhere."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model.eval()


def test_guidance_at_its_ends():
    model = stir(tiny_diffusion())
    x, t, e = torch.randn(2, 1, 8, 8, 8), torch.tensor([10, 700]), torch.randn(2, 6)
    conditional, null = model.unet(x, t, e), model.unet(x, t)
    assert not torch.allclose(conditional, null, atol=1e-4)
    assert torch.allclose(model.predict_epsilon(x, t, e, 0.0), conditional)
    assert torch.allclose(model.predict_epsilon(x, t, e, -1.0), null)
    assert torch.allclose(
        model.predict_epsilon(x, t, e, 1.5), 2.5 * conditional - 1.5 * null, atol=1e-5
    )
    keep = torch.tensor([True, False])
    mixed = model.unet(x, t, e, keep)
    assert torch.allclose(mixed[0], conditional[0], atol=1e-6)
    assert torch.allclose(mixed[1], null[1], atol=1e-6)


def test_a_tenth_of_the_embeddings_is_dropped(pairs, monkeypatch):
    from threestudio_like.training.voxel_diffusion import VoxelTraining, voxel_stage

    class Data:
        source = pairs
        embeddings = torch.randn(64, 2, 6).half()

    kept = []
    model = VoxelDiffusion(
        VoxelDiffusionConfig(
            unet=VoxelUNetConfig(
                resolution=32,
                patch=8,
                width=8,
                multipliers=(1,),
                blocks=1,
                attention=(),
                groups=8,
                heads=1,
                embedding=6,
                tokens=2,
                token_width=8,
                time_width=16,
            )
        )
    )
    monkeypatch.setattr(
        model,
        "loss",
        lambda voxels, embedding, keep, t, noise: kept.append(keep) or torch.zeros(()),
    )
    stage = voxel_stage("v", model, VoxelTraining(batch=1000), Data())
    for index in range(10):
        stage.loss(Step("v", index, 10, 0.0, 0))
    assert 1 - float(torch.cat(kept).float().mean()) == pytest.approx(0.1, abs=0.01)


# line 7


def test_forward_process_has_its_moments():
    model = tiny_diffusion()
    clean = torch.ones(20000, 1)
    for now in (0, 200, 999):
        t = torch.full((20000,), now)
        noisy = model.schedule.add_noise(
            clean, torch.randn(clean.shape, generator=torch.Generator().manual_seed(now)), t
        )
        abar = float(model.schedule.alphas_cumprod[now])
        assert float(noisy.mean()) == pytest.approx(abar**0.5, abs=0.02)
        assert float(noisy.std()) == pytest.approx((1 - abar) ** 0.5, abs=0.02)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 1000), ("ddim", 25), ("dpm", 12)])
def test_sampling_regenerates_both_of_two_shapes(sampler, steps):
    """The exact denoiser of a set of two shapes in place of the network: either shape comes out
    whole, by every sampler."""
    model = tiny_diffusion(signed=True)
    shapes = torch.zeros(2, 8, 8, 8)
    shapes[0, :4], shapes[1, :, 5:] = 1, 1
    known = model.encode(shapes).flatten(1)

    def exact(x, t, embedding=None, keep=None):
        abar = model.schedule.abar(t, x)
        flat = x.flatten(1)
        off = (flat[:, None] - abar.flatten(1)[:, None].sqrt() * known[None]).square().sum(-1)
        weight = (-off / (2 * (1 - abar.flatten(1)))).softmax(1)
        clean = (weight @ known).view_as(x)
        return (x - abar.sqrt() * clean) / (1 - abar).sqrt()

    model.unet.forward = exact
    out = (
        model.sample(
            None,
            16,
            VoxelSampling(sampler=sampler, steps=steps, guidance=0.0),
            RandomStream(0, "x", 0),
        )
        > 0.5
    )
    overlap = np.array([[voxel_iou(o.numpy(), s.numpy() > 0.5) for s in shapes] for o in out])
    assert overlap.max(1).min() > 0.95
    assert set(overlap.argmax(1)) == {0, 1}


@pytest.mark.parametrize("steps", [1, 2, 7, 12, 40])
def test_the_multistep_solver_is_that_of_diffusers(steps):
    """The same network at the same times from the same noise: the same shapes."""
    from diffusers import DPMSolverMultistepScheduler

    model = tiny_diffusion(signed=True)
    config = VoxelSampling(steps=steps, guidance=0.0, clamp=False)
    times = model.times(config)
    assert times[0] == 999
    assert times == sorted(set(times), reverse=True)
    assert steps == 1 or times[-1] == 0
    ours = model.sample(None, 3, config, RandomStream(0, "x", 0))
    other = DPMSolverMultistepScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, final_sigmas_type="zero"
    )
    other.set_timesteps(timesteps=times)
    x = RandomStream(0, "x", 0).normal("voxels", (3, 1, 8, 8, 8))
    with torch.no_grad():
        for t in other.timesteps:
            epsilon = model.predict_epsilon(x, t.expand(3), None, w=0.0)
            x = other.step(epsilon, t, x).prev_sample
    assert torch.allclose(ours, model.decode(x), atol=2e-4)


def test_voxel_diffusion_learns_two_shapes():
    model = tiny_diffusion(True, "sample")
    shapes = torch.zeros(2, 8, 8, 8)
    shapes[0, :4], shapes[1, :, 5:] = 1, 1
    vectors = torch.eye(6)[:2]
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        pick = torch.randint(0, 2, (16,), generator=generator)
        t = torch.randint(0, 1000, (16,), generator=generator)
        keep = torch.rand(16, generator=generator) > 0.1
        loss = model.loss(
            shapes[pick], vectors[pick], keep, t, torch.randn(16, 1, 8, 8, 8, generator=generator)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    for number in (0, 1):
        embedding = vectors[number : number + 1]
        out = (
            model.sample(
                embedding,
                2,
                VoxelSampling(sampler="ddim", steps=20, guidance=0.0),
                RandomStream(1, "x", 0),
            )
            > 0.5
        )
        assert min(voxel_iou(o.numpy(), shapes[number].numpy() > 0.5) for o in out) > 0.95


# line 8


def test_cisp_and_clip_runs_differ_in_one_entry():
    from threestudio_like.engine.config import dotted

    for make in (contrastive_config, voxel_config):
        one, two = (dotted(make(TrainingOptions(embedding=kind))) for kind in ("cisp", "clip"))
        assert [k for k in one if one[k] != two[k]] == [
            {contrastive_config: "model.against", voxel_config: "embedding"}[make]
        ]


# line 9


def test_set_metrics_at_their_known_points():
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(40, 3)) + rng.normal(size=3) for _ in range(40)]
    far = [c + 50 for c in clouds]
    same = set_metrics(clouds, [c.copy() for c in clouds])
    assert same["COV cd"] == 1
    assert same["MMD cd"] == pytest.approx(0, abs=1e-12)
    assert set_metrics(clouds, far)["1-NNA cd"] == 1
    assert set_metrics(clouds[:20], clouds[20:])["1-NNA cd"] == pytest.approx(0.5, abs=0.2)
    assert f_score(clouds[0], clouds[0]) == 1
    assert f_score(clouds[0], far[0]) == 0
    assert chamfer_squared(clouds[0], clouds[0] + np.array([1e3, 0, 0])) == pytest.approx(
        2e6, rel=0.02
    )
    with pytest.raises(ValueError, match="one size"):
        set_metrics(clouds, clouds[:3])


def test_earth_movers_is_exact_for_any_number_of_points():
    rng = np.random.default_rng(1)
    a = rng.random((200, 3))
    assert earth_movers(a, a[rng.permutation(200)]) == pytest.approx(0, abs=1e-9)
    assert earth_movers(a, a + np.array([0.3, 0, 0])) == pytest.approx(0.3, abs=1e-9)
    # On a line the best matching is that of the sorted points.
    line, other = (np.pad(rng.random((1500, 1)), ((0, 0), (0, 2))) for _ in range(2))
    wanted = np.abs(np.sort(line[:, 0]) - np.sort(other[:, 0])).mean()
    assert earth_movers(line, other) == pytest.approx(wanted, abs=1e-12)
    few = rng.random((2, 6, 3))
    best = min(
        np.linalg.norm(few[0] - few[1][list(order)], axis=1).mean()
        for order in itertools.permutations(range(6))
    )
    assert earth_movers(*few) == pytest.approx(best, abs=1e-12)
    with pytest.raises(ValueError, match="as many points"):
        earth_movers(a, a[:3])


def test_frechet_distance_and_bootstrap():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 4))
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet(x, x + 2) == pytest.approx(16, rel=0.02)
    low, high = bootstrap(rng.normal(1.0, 1.0, 400))
    assert low < 1 < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)


# line 11


def test_interpolation_keeps_its_ends():
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for way in (slerp, lerp):
        assert torch.equal(way(a, b, 0.0), a)
        assert torch.equal(way(a, b, 1.0), b)
    middle = slerp(a, b, 0.5)
    assert float(middle.norm()) == pytest.approx(2.0, abs=1e-5)
    assert float(middle[0, 0]) == pytest.approx(float(middle[0, 1]), abs=1e-5)
    model = stir(tiny_diffusion())
    e, f = torch.randn(1, 6), torch.randn(1, 6)
    random = RandomStream(3, "x", 0)
    alone = model.sample(e, 1, VoxelSampling(steps=3), random)
    assert torch.equal(model.sample(slerp(e, f, 0.0), 1, VoxelSampling(steps=3), random), alone)


# voxels, files, sources


def test_voxels_of_a_box_and_of_a_thin_wall():
    import trimesh

    def mesh(extents):
        body = trimesh.creation.box(extents)
        return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32))

    voxels = voxelise(mesh((1.0, 0.5, 0.25)), 32)
    assert voxels.shape == (32, 32, 32)
    assert [int(voxels.any(tuple({0, 1, 2} - {axis})).sum()) for axis in range(3)] == [16, 8, 4]
    wall = voxelise(mesh((1.0, 1.0, 0.04)), 32)
    assert wall.sum() >= 16 * 16
    again = to_mesh(voxels.astype(np.float32))
    assert again.volume == pytest.approx(0.125, rel=0.15)
    assert to_mesh(np.zeros((8, 8, 8))) is None


def test_binvox_files_there_and_back(tmp_path):
    voxels = np.random.default_rng(0).random((9, 9, 9)) > 0.7
    path = tmp_path / "model.binvox"
    write_binvox(voxels, path)
    assert np.array_equal(read_binvox(path), voxels)
    data = path.read_bytes()
    # The file stores x, z, y.
    body = np.frombuffer(data.partition(b"data\n")[2], np.uint8).reshape(-1, 2)
    assert np.array_equal(
        np.repeat(body[:, 0], body[:, 1]).reshape(9, 9, 9).astype(bool), voxels.transpose(0, 2, 1)
    )
    for bad in (
        data[:-4],
        b"no",
        data.replace(b"dim 9 9 9", b"dim 9 9 8"),
        data.replace(b"dim 9 9 9", b"dim 9999 9 9"),
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError):
            read_binvox(path)


@pytest.fixture
def shapenet(tmp_path):
    """Eight models of two categories in ShapeNet's layout."""
    for number in range(8):
        picture, _, _, mesh, _ = pictures_of(4, number, "train", 2, 40)
        key = f"{('0270', '0300')[number % 2]}/model{number}"
        folder = tmp_path / "ShapeNetRendering" / key / "rendering"
        folder.mkdir(parents=True)
        for view in range(2):
            Image.fromarray(picture[view]).save(folder / f"{view:02d}.png")
        (tmp_path / "ShapeNetVox32" / key).mkdir(parents=True)
        write_binvox(voxelise(mesh), tmp_path / "ShapeNetVox32" / key / "model.binvox")
    keys = [f"{('0270', '0300')[n % 2]}/model{n}" for n in range(8)]
    (tmp_path / "split.json").write_text(json.dumps({"train": keys[:6], "test": keys[6:]}))
    return tmp_path


def test_shapenet_layout_is_read_and_bad_samples_are_named_and_skipped(shapenet):
    source = ShapeNetPairs(shapenet, "train")
    assert len(source) == 6
    assert len(ShapeNetPairs(shapenet, "test")) == 2
    assert source.categories == ["0270", "0300"]
    pair = source.pair(0, 1)
    assert pair.image.shape == (40, 40, 4)
    assert pair.voxels.any()
    said = []
    skipped = Skipped(said.append)
    (shapenet / "ShapeNetVox32/0270/model0/model.binvox").write_bytes(b"#binvox 1\nrubbish")
    Image.new("RGB", (40, 40)).save(shapenet / "ShapeNetRendering/0270/model2/rendering/00.png")
    good = usable(source, 0, 0, skipped)
    assert good.category == 0
    assert any("model0" in s for s in said)
    assert any("model2" in s and "alpha" in s for s in said)
    usable(source, 0, 0, skipped)
    assert len(said) == 2
    with pytest.raises(InputError, match="no category"):
        ShapeNetPairs(shapenet, categories=["9999"])
    with pytest.raises(InputError, match="no such folder"):
        ShapeNetPairs(shapenet / "nowhere")
    shares = [split_of(f"x/{n}") for n in range(2000)]
    assert shares.count("train") / 2000 == pytest.approx(0.7, abs=0.04)


def test_training_on_the_users_own_data(shapenet, tmp_path):
    from threestudio_like.cli import main

    common = ["--data", str(shapenet), "--out", str(tmp_path / "t"), "--quiet"]
    sizes = [
        f"--model.{part}.{key}={value}"
        for part in ("image", "shape")
        for key, value in (("width", 32), ("depth", 1), ("heads", 2))
    ]
    sizes.append("--model.width=16")
    assert main(["train", "cisp", *common, "--steps", "2", "--batch", "4", *sizes]) == 0
    assert (
        main(
            [
                "train",
                "voxel-diffusion",
                *common,
                "--steps",
                "2",
                "--batch",
                "2",
                "--model.unet.blocks",
                "1",
            ]
        )
        == 0
    )
    model = VoxelDiffusion.load(tmp_path / "t" / "voxels-cisp")
    assert model.config.unet.embedding == 16
    assert model.config.unet.classes == 2
    assert json.loads((tmp_path / "t/voxels-cisp/categories.json").read_text()) == ["0270", "0300"]
    assert main(["train", "voxel-diffusion", *common, "--embedding", "clip"]) == 2
    assert main(["train", "cisp", *common, "--steps", "2"]) == 2


def test_training_resumes_to_the_same_weights(pairs, tmp_path):
    def run(folder, minutes=None, resume=False, steps=6):
        config = ContrastiveTraining(model=small(), steps=steps, batch=8)
        torch.manual_seed(0)
        model = Contrastive(config.model)
        stage = contrastive_stage("cisp", model, BatchSource(pairs, config))
        if minutes:
            after = stage.after_step

            def stop(step):
                after(step)
                if step.index == 2:
                    raise KeyboardInterrupt

            stage.after_step = stop
        loop = Loop(
            folder, Events(None, "quiet"), LoopSettings(seed=0, checkpoint_steps=1, resume=resume)
        )
        try:
            loop.run([StagePlan("cisp", lambda done: stage)])
        except KeyboardInterrupt:
            return None
        return model.state_dict()

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "cut", minutes=1) is None
    resumed = run(tmp_path / "cut", resume=True)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_models_are_saved_and_damaged_folders_named(tmp_path):
    model = Contrastive(small()).eval()
    model.save(tmp_path / "m")
    again = Contrastive.load(tmp_path / "m")
    x = torch.rand(2, 32, 32, 3)
    assert torch.allclose(again.embed(x), model.embed(x), atol=2e-2)
    diffusion = stir(tiny_diffusion())
    diffusion.save(tmp_path / "d")
    assert VoxelDiffusion.load(tmp_path / "d").config == diffusion.config
    with pytest.raises(ModelError, match="no voxel diffusion model"):
        VoxelDiffusion.load(tmp_path / "m")
    with pytest.raises(ModelError, match="no such model"):
        Contrastive.load(tmp_path / "nothing")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Contrastive.load(tmp_path / "m")


def test_options_of_training_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="--steps"):
        train_contrastive(TrainingOptions(out=tmp_path, steps=0))
    with pytest.raises(ConfigError, match="--locked"):
        train_contrastive(TrainingOptions(out=tmp_path, steps=1, set={"locked": "true"}))
    with pytest.raises(InputError, match="ShapeNetRendering"):
        train_contrastive(TrainingOptions(out=tmp_path, data=tmp_path))
    options = TrainingOptions(out=tmp_path, objects=8, steps=1, quiet=True, set={"batch": "4"})
    train_contrastive(options)
    with pytest.raises(CheckpointError, match="--resume"):
        train_contrastive(options)
