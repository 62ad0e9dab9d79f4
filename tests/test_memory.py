"""Budgets of memory: forecasts, chunks whose gradients are the same, and what happens when memory
runs out."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from threestudio_like.cli import main
from threestudio_like.engine.config import to_dict, update
from threestudio_like.engine.errors import ConfigError, MemoryShortage
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, ParameterGroup, Stage, StagePlan
from threestudio_like.engine.memory import GIB, MemoryWatch, bytes_of
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.watchdog import Watchdog
from threestudio_like.guidance.choice import Guidances, _counts
from threestudio_like.guidance.regularisers import distortion
from threestudio_like.guidance.second_prior import SecondLoadConfig, load_beside
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.families.parts import sizes_of
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import (
    BackgroundSample,
    RingCameras,
    StratifiedCameras,
    VolumeConfig,
    VolumeRenderer,
)
from threestudio_like.renderers.gradient_scaling import DepthScaling
from threestudio_like.representations import (
    HashGridConfig,
    HashGridField,
    VoxelField,
    VoxelGridConfig,
)
from threestudio_like.runs.memory_budget import (
    PLANS,
    budget,
    choose,
    forecast,
    limits_of,
    reading,
)
from threestudio_like.stages.demand import count_samples, demands
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

from .conftest import tiny_pipeline
from .rounding import apart, of_network, of_sum
from .test_views import opened
from .twins import save_twin
from .view_twins import VIEW_TWINS, save_view_twin


def fields():
    return {
        "voxels": VoxelField(VoxelGridConfig(size=16, smooth=1.2), 4),
        "hash": HashGridField(
            HashGridConfig(levels=4, log2_size=11, base=4, finest=32, hidden=16), 4
        ),
    }


@pytest.mark.parametrize("kind", ["voxels", "hash"])
@pytest.mark.parametrize("chunk", [1, 300, 1000])
def test_chunks_of_samples_have_the_same_values_and_gradients(kind, chunk):
    results = []
    for size in (0, chunk):
        torch.manual_seed(0)
        field = fields()[kind]
        renderer = VolumeRenderer(VolumeConfig(samples=24, occupancy=8, chunk=size))
        cameras = RingCameras(count=2, elevation=10.0).all(9)
        known = (torch.where(torch.arange(162) % 5 == 0, torch.inf, 2.9), DepthScaling())
        rendering = renderer.render(
            field,
            cameras,
            BackgroundSample(torch.zeros(2, 9, 9, 4)),
            RandomStream(0, "a", 1),
            known=known,
        )
        upstream = torch.randn(rendering.features.shape, generator=torch.Generator().manual_seed(1))
        loss = (
            (rendering.features * upstream).sum()
            + rendering.opacity.square().sum()
            + rendering.depth.sum()
        )
        (
            loss + 10 * distortion(rendering.samples, 162) + rendering.samples.density.mean()
        ).backward()
        results.append(
            [
                rendering.features,
                rendering.opacity,
                rendering.samples.weights,
                *(p.grad for p in field.parameters()),
            ]
        )
    # At most all samples of all rays meet in one number of a gradient.
    for one, two in zip(*results, strict=True):
        assert apart(one, two) <= of_sum(162 * 24)


def test_chunks_keep_less_for_the_way_back():
    held = []
    for chunk in (0, 500):
        field = fields()["hash"]
        renderer = VolumeRenderer(VolumeConfig(samples=48, occupancy=8, chunk=chunk))
        cameras = RingCameras(count=1, elevation=10.0).all(32)
        with MemoryWatch() as watch:
            rendering = renderer.render(
                field, cameras, BackgroundSample(torch.zeros(1, 32, 32, 4)), RandomStream(0, "a", 1)
            )
            held.append(watch.live)
        del rendering
    assert held[1] < 0.7 * held[0]


@pytest.mark.parametrize("entries", [1, 3, 4])
def test_the_unet_in_parts(tiny_folder, entries):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    text = torch.randn(
        6, prior.encode_text([""]).shape[1], 32, generator=torch.Generator().manual_seed(0)
    )
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([1, 50, 200, 300, 700, 900])
    condition = Condition(text, RingCameras(count=6, elevation=0.0).all(8), torch.linspace(0, 1, 6))
    whole = prior.predict(latents, t, condition)
    prior.entries = entries
    parts = prior.predict(latents, t, condition)
    assert apart(whole, parts) <= of_network(prior.unet)
    assert apart(whole, prior.predict(latents, t + 1, condition)) > 10 * of_network(prior.unet)


def test_views_that_see_each_other_stay_together(toybox_prior):
    cameras = StratifiedCameras().sample(RandomStream(0, "a", 0), 8)
    prompt = toybox_prior.encode_text(["a red chair"]).expand(8, -1, -1)
    latents = torch.randn(8, 4, toybox_prior.facts.latent_size, toybox_prior.facts.latent_size)
    condition = Condition(prompt, cameras[torch.arange(8) % 4], 0.5, 4)
    t = torch.full((8,), 500)
    before = toybox_prior.entries
    try:
        whole = toybox_prior.predict(latents, t, condition)
        toybox_prior.entries = 3
        parts = toybox_prior.predict(latents, t, condition)
    finally:
        toybox_prior.entries = before
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_the_autoencoder_in_parts_has_the_gradient_of_all(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    found = []
    for images in (0, 1, 2):
        prior.images = images
        pictures = torch.rand(
            3, 16, 16, 3, generator=torch.Generator().manual_seed(2)
        ).requires_grad_()
        latents = prior.encode_image(pictures)
        (latents.square().sum() + prior.decode_latents(latents).sum()).backward()
        found.append((latents.detach(), pictures.grad))
    # A gradient is made picture by picture on a CPU, whatever is asked.
    for latents, grad in found[1:]:
        assert torch.equal(latents, found[0][0])
        assert torch.equal(grad, found[0][1])


def test_a_text_encoder_that_is_not_kept_comes_back(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(keep_text=False), "tiny")
    kept = StableDiffusionPrior(tiny_folder, DiffusersConfig(keep_text=True), "tiny")
    assert torch.equal(prior.encode_text(["a red chair"]), kept.encode_text(["a red chair"]))
    assert prior.text._text_encoder is None
    assert kept.text._text_encoder is not None
    assert torch.equal(prior.encode_text(["a blue mug"]), kept.encode_text(["a blue mug"]))


def test_the_watch_counts_what_is_alive():
    with MemoryWatch() as watch:
        a = torch.zeros(1000)
        b = a + 1
        view = b[:10]
        del b
        assert watch.live == 8000
        del view
        assert watch.live == 4000
    assert watch.peak == 8000
    assert len(a) == 1000


def test_the_watch_does_not_count_views_of_what_was_there():
    layer = torch.nn.Linear(50, 20)
    x = torch.zeros(3, 50)
    with MemoryWatch() as watch, torch.no_grad():
        out = layer(x)
        turned = layer.weight.t()
    assert watch.peak == out.numel() * 4
    assert turned.shape == (50, 20)


def test_budgets():
    assert budget("8GB") == budget("8 GiB") == budget("8") == 8 * GIB
    assert budget("0.5gb") == GIB // 2
    for wrong in ("", "much", "-1GB", "0"):
        with pytest.raises(ConfigError, match="no amount of memory"):
            budget(wrong)


def test_smaller_budgets_choose_smaller_plans_and_impossible_ones_are_said(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    config = update(
        LatentNerf.paper(), {"distil": {"steps": 5}, "representation": {"hash": {"log2_size": 12}}}
    )
    wanted = demands(config, prior)
    peaks = [forecast(plan, wanted, prior).peak for plan in PLANS if not plan.offload]
    assert peaks == sorted(peaks, reverse=True)
    assert choose("24GB", config, prior).plan == PLANS[0]
    with pytest.raises(ConfigError, match="the smallest plan needs"):
        choose("0.001GB", config, prior)


def test_a_fine_grid_at_the_end_is_in_the_forecast_and_in_the_way_out(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    changes = {"distil": {"steps": 5}, "representation": {"hash": {"log2_size": 12}}}
    config = update(LatentNerf.paper(), changes)
    wanted = demands(config, prior)
    coarse, fine = (forecast(PLANS[0], wanted, prior, extraction=e) for e in (1, 4 * GIB))
    assert coarse == forecast(PLANS[0], wanted, prior)
    assert fine.peak > 4 * GIB
    assert "extraction of the surface 4.00" in fine.line()
    with pytest.raises(ConfigError) as caught:
        choose("3GB", config, prior, extraction=4 * GIB)
    assert "--export.resolution" in caught.value.remedy


def test_an_extraction_takes_no_more_than_its_forecast():
    """A lumpy ball, in a process of its own, for its peak of resident memory."""
    program = """
import re, torch
from threestudio_like.meshes.surface.extraction import ExtractionConfig, extraction_bytes
from threestudio_like.renderers import VolumeRenderer
from threestudio_like.representations import VoxelField, VoxelGridConfig
from threestudio_like.stages.field_to_mesh import field_mesh
from threestudio_like.stages.model import FieldModel
field = VoxelField(VoxelGridConfig(size=64), channels=3)
axis = torch.linspace(-1, 1, 64)
radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2).sqrt()
lumps = torch.randn(radius.shape, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    field.grid[..., 0] = 60 * (0.7 - radius) + lumps
model = FieldModel(field, VolumeRenderer(), None)
def peak():
    # Of this program alone: getrusage counts the process that began it too.
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
before = peak()
field_mesh(model, ExtractionConfig(size=160))
taken = peak() - before
print(taken / extraction_bytes(160))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0.4 < float(done.stdout.split()[-1]) < 1


@pytest.mark.parametrize(
    ("system", "plan", "parts"),
    [
        (LatentNerf, PLANS[0], 1),
        (LatentNerf, PLANS[0], 2),
        (DreamFusion, PLANS[0], 1),
        (DreamFusion, PLANS[3], 1),
    ],
)
def test_a_forecast_is_what_a_run_takes(tiny_folder, system, plan, parts):
    """Whole distillation steps under the watch, within 15 % of their forecast: occupancy,
    regularisers, watchdog and all."""
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    changes = {
        "resolution": 24,
        "representation": {"hash": {"log2_size": 14}},
        "distil": {"steps": 4, "uniform": {"batch": 2}},
    }
    config = update(system.paper(), changes)
    expected = forecast(plan, demands(config, prior, parts), prior)
    prior.keep_within(expected.limits)
    with MemoryWatch() as watch:
        for module in (prior.unet, prior.vae):
            for tensor in [*module.parameters(), *module.buffers()]:
                watch.note(tensor)
        loop = Loop(None, Events(None, "quiet"), LoopSettings(accumulate=parts), Watchdog())
        loop.run(config.plans(Request("a red chair", prior, 0, limits=expected.limits)))
    assert watch.peak == pytest.approx(expected.peak, rel=0.15)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev"])
def test_text_encoders_are_counted(name, tmp_path):
    """Those that stay all the time, and others beside the weights: prompts are read first."""
    folder = save_twin(name, tmp_path / name)
    prior = load_folder(folder, DiffusersConfig(), name)
    small = {"resolution": 8, "representation": {"hash": {"levels": 2, "log2_size": 8}}}
    config = update(DreamFusion.paper(), {**small, "renderer": {"samples": 8, "occupancy": 8}})
    config = replace(config, distil=replace(config.distil, steps=2))
    sizes = {part: n for part, n in sizes_of(folder).items() if part.startswith("text_encoder")}
    assert sizes
    text = sum(sizes.values()) * prior.text.dtype.itemsize
    wanted = demands(config, prior)
    place = prior.text.device
    assert prior.text.keep
    stays = forecast(PLANS[0], wanted, prior)
    assert stays.parts["text encoders"] == text
    prior.text.keep = False
    before = len(prior.text.embeddings)
    read = forecast(
        PLANS[0], [replace(d, samples=1, parameters=0, refresh=0) for d in wanted], prior
    )
    assert read.peak >= read.parts["weights"] + text
    # A plan asks for a text's shape only, and leaves nothing of it on the device or in the run.
    assert prior.text.device == place
    assert len(prior.text.embeddings) == before
    # Embeddings of a file are read by no encoder.
    prior.encode_text([""])
    prior.text.embeddings.bundle = True
    assert forecast(PLANS[0], wanted, prior).peak == stays.peak - text


@pytest.mark.parametrize("name", VIEW_TWINS)
def test_what_reads_prompts_is_known_of_models_that_turn_pictures_too(name, tmp_path):
    folder = save_view_twin(name, tmp_path / name)
    prior = opened(folder)
    sizes = {part: n for part, n in sizes_of(folder).items() if part.startswith("text_encoder")}
    assert reading(prior)[0] == sum(sizes.values()) * prior.text.dtype.itemsize
    assert bool(sizes) == (prior.encode_text(["a red chair"]).shape[-1] > 1)


def test_a_second_prior_is_counted(tiny_folder, tmp_path):
    """As Magic123 weights two: weights of both, and what both keep for the way back."""
    plan = PLANS[0]
    second = tiny_pipeline(tmp_path / "second", seed=1)
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    changes = {
        "resolution": 24,
        "representation": {"hash": {"log2_size": 14}},
        "distil": {"steps": 2, "uniform": {"batch": 1}},
    }
    config = update(DreamFusion.paper(), changes)
    alone = forecast(plan, demands(config, prior), prior)
    values = {"second-prior": {"weight": "1", "prior": str(second)}}
    guidances = Guidances().updated(values, "distil.guidances.")
    config = replace(config, distil=replace(config.distil, guidances=guidances))
    expected = forecast(plan, demands(config, prior), prior)
    assert expected.parts["weights"] > 1.9 * alone.parts["weights"]
    prior.keep_within(expected.limits)
    other = load_beside(prior, str(second), SecondLoadConfig())
    assert other.limits == prior.limits
    with MemoryWatch() as watch:
        for network in (prior.unet, prior.vae, other.unet, other.vae):
            for tensor in [*network.parameters(), *network.buffers()]:
                watch.note(tensor)
        loop = Loop(None, Events(None, "quiet"), LoopSettings(), Watchdog())
        loop.run(config.plans(Request("a red chair", prior, 0, limits=expected.limits)))
    assert watch.peak == pytest.approx(expected.peak, rel=0.15), expected.parts


def test_a_weight_that_is_not_always_zero_counts():
    """A schedule in turn may begin and end at 0."""
    for weight, counts in (("0", False), ("0->1 @ 0..50%; 1->0 @ 50..100%", True)):
        chosen = Guidances().updated({"clip": {"weight": weight}}, "")
        assert _counts("clip", chosen._chosen["clip"]) is counts


def test_normals_in_chunks_are_the_same():
    results = []
    for chunk in (0, 60):
        field = fields()["hash"]
        # A fresh field is so even that its normals are rounding.
        with torch.no_grad():
            field.table.mul_(3000)
        renderer = VolumeRenderer(VolumeConfig(chunk=chunk))
        points = torch.rand(101, 3, generator=torch.Generator().manual_seed(0)) - 0.5
        normals = renderer.normals(field, points)
        normals.square().mul(torch.arange(3)).sum().backward()
        results.append((normals.detach(), field.table.grad))
        with torch.no_grad():
            assert torch.equal(renderer.normals(field, points), normals)
    assert torch.equal(results[0][0], results[1][0])
    # Both sides of a central difference all but cancel in the sum of 6 x 101 differences.
    assert apart(results[0][1], results[1][1]) <= 10 * of_sum(6 * 101)


def test_a_step_of_dreamfusion_in_chunks_has_the_gradient_of_all(tiny_folder, tmp_path):
    """Rendering, autoencoder, normals: the first moment after a step is a tenth of the gradient."""
    line = [
        "generate",
        "a red chair",
        "--prior",
        str(tiny_folder),
        "--system",
        "dreamfusion",
        "--preset",
        "paper",
        "--steps",
        "1",
        "--resolution",
        "12",
        "--dtype",
        "float32",
        "--distil.uniform.batch",
        "3",
        "--distil.regularise.orientation",
        "1",
        "--representation.hash.levels",
        "4",
        "--representation.hash.log2-size",
        "10",
        "--renderer.samples",
        "16",
        "--faces",
        "300",
        "--texture",
        "64",
        "--quiet",
        "--no-turntable",
        "--keep",
        "all",
    ]
    moments = []
    for name, chunk in (("all", "0"), ("few", "700")):
        assert main([*line, "--renderer.chunk", chunk, "--out", str(tmp_path / name)]) == 0
        tensors = load_file(tmp_path / name / "work/checkpoint.safetensors")
        moments.append({k: v for k, v in tensors.items() if k.endswith("exp_avg")})
    # The networks see the same pictures, and what they get differs by the order of a ray's samples;
    # at most all samples of three views meet in one number of the tables.
    for name, moment in moments[0].items():
        assert apart(moment, moments[1][name]) <= of_sum(3 * 12 * 12 * 16)


def test_refining_keeps_a_budget_too(tiny_folder, tmp_path):
    """Its field is that of the run that it refines."""
    small = [
        "--representation.hash.levels",
        "4",
        "--representation.hash.log2-size",
        "10",
        "--renderer.samples",
        "16",
        "--faces",
        "300",
        "--texture",
        "64",
        "--quiet",
        "--no-turntable",
    ]
    line = [
        "generate",
        "a red chair",
        "--prior",
        str(tiny_folder),
        "--preset",
        "paper",
        "--steps",
        "2",
        *small,
    ]
    assert main([*line, "--out", str(tmp_path / "one")]) == 0
    line = ["refine", str(tmp_path / "one"), "--steps", "2", "--resolution", "16", *small[4:]]
    assert main([*line, "--memory", "1GB", "--out", str(tmp_path / "two")]) == 0
    events = [json.loads(text) for text in (tmp_path / "two/events.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "memory-plan")["plan"] == PLANS[0].name
    assert main([*line, "--memory", "0.001GB", "--out", str(tmp_path / "three")]) == 2
    assert not (tmp_path / "three").exists()


def test_parts_take_less(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    config = update(
        LatentNerf.paper(),
        {
            "resolution": 48,
            "representation": {"hash": {"log2_size": 12}},
            "distil": {"uniform": {"batch": 4}},
        },
    )
    peaks = [
        forecast(PLANS[0], demands(config, prior, parts), prior).parts["rendering"]
        for parts in (1, 2, 4)
    ]
    assert peaks[0] > 1.3 * peaks[1] > 1.6 * peaks[2]


def test_a_plan_reaches_prior_and_stages_and_no_configuration(tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    config = LatentNerf()
    wanted = demands(config, prior)
    counted = {demand.name: demand.samples for demand in wanted}
    assert counted["distil"] != counted["rgb"]
    before = to_dict(config)
    for plan, samples in (
        (PLANS[2], {"distil": PLANS[2].samples, "rgb": PLANS[2].samples}),
        # All at once is as many as a stage's own forecast counts on.
        (PLANS[0], counted),
    ):
        limits = limits_of(plan, wanted)
        prior.keep_within(limits)
        assert (prior.entries, prior.images) == (plan.entries, plan.images)
        request = Request("a red chair", prior, limits=limits)
        plans = {p.name: p for p in config.plans(request)}
        for name in ("distil", "rgb"):
            assert plans[name].build({}).modules["renderer"].chunk == samples[name]
    assert to_dict(config) == before
    assert prior.config == DiffusersConfig()


def test_out_of_memory_does_less_at_once_and_goes_on_and_the_second_time_says_so(tmp_path):
    def stage(failures):
        module = torch.nn.Linear(1, 1, bias=False)
        done = []

        def loss(step):
            if step.index == 1 and failures and failures.pop():
                raise torch.OutOfMemoryError("no more")
            return {"fit": module(torch.ones(1, 1)).square().sum()}

        def shrink():
            done.append(1)
            return "did less"

        group = ParameterGroup("all", list(module.parameters()))
        return Stage("fit", 3, {"module": module}, [group], loss, shrink=shrink), done

    one, done = stage([True])
    events = Events(tmp_path / "events.jsonl", "quiet")
    Loop(None, events, LoopSettings()).run([StagePlan("fit", lambda _: one)])
    assert done == [1]
    said = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert next(e for e in said if e["event"] == "memory")["action"] == "did less"
    assert [e["step"] for e in said if e["event"] == "stage-end"] == [3]
    two, _ = stage([True, True])
    with pytest.raises(MemoryShortage, match="ran out of memory in step 1"):
        Loop(None, Events(None, "quiet"), LoopSettings()).run([StagePlan("fit", lambda _: two)])


def test_memory_from_the_command_line(tmp_path, tiny_folder, capsys):
    run = [
        "generate",
        "a red chair",
        "--prior",
        str(tiny_folder),
        "--preset",
        "paper",
        "--steps",
        "2",
        "--representation.hash.levels",
        "4",
        "--representation.hash.log2-size",
        "10",
        "--renderer.samples",
        "16",
        "--faces",
        "300",
        "--texture",
        "64",
    ]
    assert (
        main([*run, "--memory", "8GB", "--out", str(tmp_path / "run"), "--quiet", "--no-turntable"])
        == 0
    )
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "memory-plan")["plan"] == PLANS[0].name
    for text, message in (("much", "no amount of memory"), ("0.0001", "the smallest plan needs")):
        assert main([*run, "--memory", text, "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_bytes_of_a_module():
    assert bytes_of(torch.nn.Linear(3, 2)) == 4 * 8


def test_samples_are_counted_as_a_first_step_has_them():
    config = VolumeConfig(samples=32, occupancy=8, jitter=False)
    cameras = RingCameras(count=2, elevation=10.0).all(20)
    renderer = VolumeRenderer(config)
    rendering = renderer.render(
        fields()["voxels"], cameras, BackgroundSample(torch.zeros(2, 20, 20, 4))
    )
    assert count_samples(renderer, cameras) == pytest.approx(len(rendering.samples.t), rel=0.02)


def test_thin_samples_are_not_counted():
    config = VolumeConfig(samples=32, occupancy=8, jitter=False, alpha_threshold=0.5)
    cameras = RingCameras(count=2, elevation=10.0).all(20)
    renderer, field = VolumeRenderer(config), fields()["voxels"]
    renderer.refresh(field, RandomStream(0, "a", 0))
    rendering = renderer.render(field, cameras, BackgroundSample(torch.zeros(2, 20, 20, 4)))
    counted = count_samples(renderer, cameras, field)
    assert counted == pytest.approx(len(rendering.samples.t), rel=0.02)
    assert 0 < counted < 0.95 * count_samples(renderer, cameras)
