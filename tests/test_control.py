"""Control networks against the library's own pipelines, what does not fit, and the pictures that
are made of the geometry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from tests import control_twins
from tests.test_families import (
    NEGATIVE,
    PROMPT,
    at_time,
    edge_of,
    in_our_form,
    time_of,
    told,
)
from tests.twins import TWINS, save_twin
from threestudio_like.engine.errors import ConfigError, ModelError
from threestudio_like.priors.control.kinds import CONTROL_KINDS, FARTHEST, ControlInputs
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.registry import EMBEDDED, embedded_folder
from threestudio_like.renderers import Cameras
from threestudio_like.renderers.geometry import Shape, geometry_maps
from threestudio_like.training.control import build_control

CASES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "sd": ("sd", ("controlnet",), {}),
    "sd bgr": ("sd", ("controlnet",), {"controlnet_conditioning_channel_order": "bgr"}),
    "sd two": ("sd", ("controlnet", "controlnet"), {}),
    "sd adapter": ("sd", ("t2i_adapter",), {}),
    "sd adapter of one channel": ("sd", ("t2i_adapter",), {"in_channels": 1}),
    "sdxl": ("sdxl", ("controlnet",), {}),
    "sd3": ("sd3", ("sd3_controlnet",), {}),
    "sd3 with pooled text": (
        "sd3",
        ("sd3_controlnet",),
        {"force_zeros_for_pooled_projection": False},
    ),
    "flux": ("flux-dev", ("flux_controlnet",), {}),
    "flux union": ("flux-dev", ("flux_controlnet",), {"num_mode": 5}),
}
KINDS = ("depth", "canny")
WIDTH = "projection_class_embeddings_input_dim"
WEIGHTS = (0.7, 0.4)


def adapted() -> Any:
    """Stable Diffusion 1 with attention in its first block, as the published ones have it."""
    from tests.twins import sd, unet

    pipeline = sd()
    kinds = dict(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    pipeline.register_modules(unet=unet(**kinds))
    return pipeline


def twin_of(name: str, folder: Path, adapter: bool = False) -> Path:
    if adapter:
        if not (folder / "adapted").is_dir():
            torch.manual_seed(0)
            adapted().save_pretrained(folder / "adapted")
        return folder / "adapted"
    return folder / name if (folder / name).is_dir() else save_twin(name, folder / name)


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("control")


def made(case: str, room: Path) -> tuple[Path, list[Any], list[Path], str]:
    """A twin's folder, its control networks, and their folders."""
    name, makers, more = CASES[case]
    folder = twin_of(name, room, adapter="t2i_adapter" in makers)
    torch.manual_seed(5)
    bare = TWINS[name]()
    networks, places = [], []
    for number, maker in enumerate(makers):
        network = getattr(control_twins, maker)(bare, **more).eval()
        place = room / f"{case} {number}".replace(" ", "-")
        network.save_pretrained(place)
        networks.append(network)
        places.append(place)
    return folder, networks, places, name


def pictures_for(name: str, count: int) -> list[torch.Tensor]:
    """Random pictures (1, S, S, 3) in [0, 1], one for each network."""
    edge = edge_of(name)
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(1, edge, edge, 3, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_predictions_are_the_librarys(case, room, monkeypatch):
    """What the denoiser says under control, conditional and not, in the library's own steps; and
    that weight 0 is no control."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, *_: self.mean)
    folder, networks, places, name = made(case, room)
    pictures = pictures_for(name, len(networks))
    pipeline = control_twins.pipeline_with(name, folder, networks)
    calls: list[Any] = []
    network = getattr(pipeline, "transformer", None) or pipeline.unet

    def keep(module: Any, arguments: Any, keywords: Any, output: Any) -> None:
        out = output[0] if isinstance(output, tuple) else output.sample
        calls.append((arguments, dict(keywords), out))

    network.register_forward_hook(keep, with_kwargs=True)
    pipeline.set_progress_bar_config(disable=True)
    several = len(networks) > 1
    shown = [p.permute(0, 3, 1, 2) for p in pictures]
    adapter = "adapter" in case
    if name in ("sd3", "flux-dev"):
        # These pipelines take tensors as their networks want them.
        shown = [2 * s - 1 for s in shown]
    if networks[0].config.get("in_channels") == 1:
        shown = [s.mean(1, keepdim=True) for s in shown]
    weights = list(WEIGHTS[: len(networks)])
    call: dict[str, Any] = {
        "image" if name in ("sd", "sdxl") else "control_image": shown if several else shown[0],
        ("adapter" if adapter else "controlnet") + "_conditioning_scale": weights
        if several
        else weights[0],
        "guidance_scale": 3.5 if "flux" in name else 4.0,
    }
    if "flux" in name:
        call["control_mode"] = 2 if "union" in case else None
    else:
        call["negative_prompt"] = NEGATIVE
    edge = edge_of(name)
    pipeline(
        prompt=PROMPT,
        height=edge,
        width=edge,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **call,
    )

    def prior_with(weights: list[float]) -> Any:
        asked = tuple(f"{k}={p}@{w}" for k, p, w in zip(KINDS, places, weights))
        return load_folder(folder, DiffusersConfig(image_size=edge, control=asked), name)

    prior = prior_with(weights)
    assert prior.facts.controls == KINDS[: len(networks)]
    assert "control" in prior.facts.conditions
    text = prior.encode_text([PROMPT, NEGATIVE])
    embedded = dict(zip((PROMPT, NEGATIVE), text))
    off = prior_with([0.0] * len(networks))
    plain = load_folder(folder, DiffusersConfig(image_size=edge), name)
    compared = 0
    for arguments, keywords, out in calls:
        x, time, _ = told(arguments, keywords)
        x, theirs = in_our_form(x, prior), in_our_form(out, prior)
        t, away = time_of(prior, time)
        if away > 0.5:
            continue
        rows = [PROMPT] if len(x) == 1 else [NEGATIVE, PROMPT]
        factor = prior.schedule.factors
        given = x / (1.0 if factor is None else factor[t])
        control = {k: p.expand(len(x), -1, -1, -1) for k, p in zip(KINDS, pictures)}
        texts = torch.stack([embedded[row] for row in rows])
        said = []
        for asked in (prior, off, plain):
            with at_time(asked, t, time):
                condition = Condition(texts, control=control)
                said.append(asked.predict(given, torch.full((len(x),), t), condition))
        assert float((said[0] - theirs).abs().max()) < 1e-5
        assert torch.equal(said[1], said[2])
        assert float((said[0] - said[2]).abs().max()) > 1e-3
        compared += len(x)
    assert compared >= (1 if "flux" in name else 2)


def test_parts_and_gradients_see_their_own_pictures(room):
    """A batch in parts, and differentiably, is the batch as a whole."""
    folder, _, places, name = made("sd", room)
    config = DiffusersConfig(image_size=16, control=(f"depth={places[0]}",))
    prior = load_folder(folder, config, name)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 4, 8, 8, generator=generator)
    pictures = torch.rand(4, 16, 16, 3, generator=generator)
    text = prior.encode_text([PROMPT, NEGATIVE, PROMPT, ""])
    t = torch.tensor([10, 300, 600, 900])
    whole = prior.predict(x, t, Condition(text, control={"depth": pictures}))
    prior.entries = 2
    parts = prior.predict(x, t, Condition(text, control={"depth": pictures}))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    given = x.clone().requires_grad_(True)
    out = prior.predict_with_gradient(given, t, Condition(text, control={"depth": pictures}))
    torch.testing.assert_close(out, whole, atol=1e-5, rtol=1e-5)
    out.sum().backward()
    assert given.grad is not None
    assert bool(given.grad.abs().sum() > 0)


def test_memory_counts_control(room):
    folder, _, places, name = made("sd", room)
    plain = load_folder(folder, DiffusersConfig(image_size=16), name)
    asked = DiffusersConfig(image_size=16, control=(f"depth={places[0]}",))
    beside = load_folder(folder, asked, name)
    before = plain.rehearse(8, 2, 1, gradient=False, offload=False)
    after = beside.rehearse(8, 2, 1, gradient=False, offload=False)
    own = sum(p.numel() * p.element_size() for p in beside.controls[0].network.parameters())
    assert after.weights == before.weights + own
    assert after.denoising > 0


def broken(place: Path, change: dict[str, Any], room: Path, name: str) -> Path:
    """A copy of a control network's folder with another configuration."""
    import shutil

    folder = room / name
    shutil.copytree(place, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


@pytest.mark.parametrize(
    ("case", "twin", "text"),
    [
        ("sd", "sdxl", "cross_attention_dim"),
        ("sd", "flux-dev", "families sd, sdxl"),
        ("flux", "sd", "families flux"),
        ("sd adapter", "sdxl", "full_adapter"),
        ("sd", "pixart-sigma", "without control networks"),
        ("flux union", "flux-dev", "union of kinds"),
    ],
)
def test_other_families_are_refused(case, twin, text, room):
    _, _, places, _ = made(case, room)
    kind = "normal" if "union" in case else "depth"
    config = DiffusersConfig(image_size=edge_of(twin), control=(f"{kind}={places[0]}",))
    with pytest.raises(ModelError, match=text):
        load_folder(twin_of(twin, room), config, twin)


def test_what_does_not_fit_is_one_error(room):
    folder, _, places, name = made("sd", room)
    bare = TWINS["sd"]()

    def refused(request: str, kind: type[Exception], text: str) -> None:
        with pytest.raises(kind, match=text):
            load_folder(folder, DiffusersConfig(image_size=16, control=(request,)), name)

    refused("dept", ConfigError, "depth")
    refused("depth@-1", ConfigError, "from 0 to 4")
    refused("depth@x", ConfigError, "from 0 to 4")
    refused(f"depth={room / 'nothing'}", ModelError, "no model")
    refused(f"depth={folder}", ModelError, "no config.json")
    refused(f"depth={folder / 'unet'}", ModelError, "UNet2DConditionModel")
    refused("inpaint@0.5", ModelError, "network|hub|machine")
    large = control_twins.controlnet(bare, conditioning_embedding_out_channels=(8, 8, 16))
    large.save_pretrained(room / "large")
    refused(f"depth={room / 'large'}", ModelError, "4 times smaller")
    four = control_twins.controlnet(bare, conditioning_channels=4)
    four.save_pretrained(room / "four")
    refused(f"depth={room / 'four'}", ModelError, "4 channels")
    pooled = broken(places[0], {"global_pool_conditions": True}, room, "pooled")
    refused(f"depth={pooled}", ModelError, "layout")
    own = broken(places[0], {}, room, "own")
    (own / "control.json").write_text('{"kinds": ["canny"]}')
    refused(f"depth={own}", ModelError, "canny")


def embedded(*control: str) -> Any:
    """The embedded prior with control networks."""
    return load_folder(
        embedded_folder("diffusion"), DiffusersConfig(control=control, dtype="float32"), EMBEDDED
    )


def said_by(prior: Any, domain: Any = "colour") -> torch.Tensor:
    """What the embedded prior predicts of two views with pictures of a cube's depth or edges."""
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(2, prior.facts.channels, 16, 16, generator=generator)
    cameras = Cameras.orbit(
        torch.tensor([0.0, 1.0]), torch.tensor([0.2, 0.2]), 3.0, fov_y=0.7, height=64, width=64
    )
    inputs = ControlInputs(geometry_maps(shape_of_cube(), cameras, 64))
    shown = {kind: CONTROL_KINDS.get(kind).draw(inputs) for kind in KINDS}
    text = prior.encode_text(["a red box"]).expand(2, -1, -1)
    condition = Condition(text=text, cameras=cameras, control=shown, domain=domain)
    return prior.epsilon(latents, torch.tensor([600, 600]), condition)


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_network_is_of_the_embedded_prior(kind):
    """Both are trained one after the other: what the one is told the other has to understand."""
    plain, controlled = said_by(embedded()), said_by(embedded(kind))
    assert controlled.isfinite().all()
    assert (controlled - plain).abs().mean() > 0.01


def test_a_network_that_knows_no_domains_is_told_the_camera_alone(room):
    """One that was trained before its prior was taught normals."""
    prior = embedded()
    assert prior.facts.domains == ("colour", "normal")
    told = prior.denoiser.config.projection_class_embeddings_input_dim
    torch.manual_seed(3)
    wide = control_twins._woken(build_control(prior.denoiser))
    narrow = ControlNetModel.from_config({**wide.config, WIDTH: told - 1})
    state = wide.state_dict()
    first = "class_embedding.linear_1.weight"
    narrow.load_state_dict({**state, first: state[first][:, :-1]})
    for name, network in (("wide", wide), ("narrow", narrow)):
        network.save_pretrained(room / name)
    # In colours the last number is zero.
    said = [said_by(embedded(f"depth={room / name}")) for name in ("wide", "narrow")]
    assert torch.allclose(said[0], said[1], atol=1e-6)
    other = ControlNetModel.from_config({**wide.config, WIDTH: told - 2})
    other.save_pretrained(room / "other")
    with pytest.raises(ModelError, match=f"told {told - 2} numbers of a view"):
        embedded(f"depth={room / 'other'}")


def shape_of_cube() -> Shape:
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    tri = torch.tensor([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return Shape.of(corners * 0.5, tri.int())


def test_depth_is_inverse_and_normals_are_the_cameras():
    """A cube seen straight on, and on its edge, against numbers by hand."""
    straight = Cameras.orbit(torch.tensor([0.0]), torch.tensor([0.0]), 3.0, 0.7, 64, 64)
    maps = geometry_maps(shape_of_cube(), straight, 64)
    assert float(maps.depth[0, 32, 32]) == pytest.approx(2.5, abs=1e-5)
    normal = CONTROL_KINDS.get("normal").draw(ControlInputs(maps))
    assert normal[0, 32, 32].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=1e-5)
    depth = CONTROL_KINDS.get("depth").draw(ControlInputs(maps))
    assert float(depth[0, 32, 32, 0]) == 1.0
    assert float(depth[0, 0, 0, 0]) == 0.0
    lines = CONTROL_KINDS.get("canny").draw(ControlInputs(maps))
    assert set(lines.unique().tolist()) == {0.0, 1.0}
    # Only the silhouette: a square's outline, a pixel wide.
    side = int(maps.hit[0, 32].sum())
    assert int(lines[0, ..., 0].sum()) == 4 * side - 4

    turned = Cameras.orbit(torch.tensor([torch.pi / 4]), torch.tensor([0.0]), 3.0, 0.7, 64, 64)
    maps = geometry_maps(shape_of_cube(), turned, 64)
    half = 2**-0.5
    # The face on the left looks to the left, and so is red in ScanNet's protocol.
    left = CONTROL_KINDS.get("normal").draw(ControlInputs(maps))[0, 32, 24]
    assert left.tolist() == pytest.approx([(1 + half) / 2, 0.5, (1 + half) / 2], abs=1e-4)
    right = CONTROL_KINDS.get("normal-right").draw(ControlInputs(maps))[0, 32, 24]
    assert right.tolist() == pytest.approx([(1 - half) / 2, 0.5, (1 + half) / 2], abs=1e-4)
    depth = CONTROL_KINDS.get("depth").draw(ControlInputs(maps))[0, ..., 0]
    inside = depth[maps.hit[0]]
    assert float(inside.max()) == 1.0
    assert float(inside.min()) == pytest.approx(FARTHEST)
    assert float(depth[32, 32]) > float(depth[32, 24]) > FARTHEST
    lines = maps.edges[0]
    assert bool(lines[32, 31:33].any()), "the crease in the middle is a line"
    assert not bool(lines[32, 22:28].any()), "and the faces beside it are not"


def test_inpaint_marks_what_is_painted():
    maps = geometry_maps(
        shape_of_cube(),
        Cameras.orbit(torch.tensor([0.0]), torch.tensor([0.0]), 3.0, 0.7, 8, 8),
        8,
    )
    open_ = torch.zeros(1, 8, 8, dtype=torch.bool)
    open_[0, 4:] = True
    told = CONTROL_KINDS.get("inpaint").draw(
        ControlInputs(maps, torch.full((1, 8, 8, 3), 0.3), open_)
    )
    assert bool((told[0, 4:] == -1).all())
    assert bool((told[0, :4] == 0.3).all())
    with pytest.raises(ConfigError, match="locked"):
        CONTROL_KINDS.get("inpaint").draw(ControlInputs(maps))
