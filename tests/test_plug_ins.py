"""Each kind of thing is added by one file outside the package, reached from the command line, and
held against its closed form."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from threestudio_like.commands.parsing import read_plugins
from threestudio_like.engine import registry as engine_registry
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.registry import read_plugin_file
from threestudio_like.guidance import GuidanceInputs
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.registry import GUIDANCES, GuidanceContext
from threestudio_like.priors.loading import PRIORS, load_prior
from threestudio_like.priors.oracle import Mixture
from threestudio_like.renderers import StratifiedCameras
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.representations import VoxelField, VoxelGridConfig
from threestudio_like.representations.config import FieldConfig
from threestudio_like.representations.registry import REPRESENTATIONS, FieldRequest

ROOT = Path(__file__).parent.parent
PLUG_INS = ROOT / "examples" / "plug_ins"
CAR = ROOT / "assets" / "pictures" / "car.jpg"


@pytest.fixture(scope="module", autouse=True)
def plug_ins():
    for path in sorted(PLUG_INS.glob("*.py")):
        read_plugin_file(path)


def context(prior, **more) -> GuidanceContext:
    field = VoxelField(VoxelGridConfig(size=4), prior.facts.channels)
    values = {"stage": "distil", "prompt": "one", "encode": False, "decode": lambda f: f}
    return GuidanceContext(
        **{**values, "prior": prior, "representation": field, "render": None, **more}
    )


def inputs(count: int, step: int = 0) -> GuidanceInputs:
    cameras = StratifiedCameras(batch=count).sample(RandomStream(0, "c", 0), 8)
    return GuidanceInputs(cameras, 0.0, RandomStream(0, "s", step))


@pytest.mark.parametrize("time", [0.2, 0.5, 0.8])
def test_csd_moves_along_the_gradient_of_the_implicit_classifier(time):
    """eps(z; y) - eps(z) = -sqrt(1 - abar) d/dz log p(y | z), of a mixture of Gaussians by
    autograd."""
    generator = torch.Generator().manual_seed(3)
    modes = {n: 0.5 * torch.randn(4, 8, 8, generator=generator) for n in ("one", "two", "three")}
    prior, deviation = Mixture(modes, 2.0), 2.0
    kind = GUIDANCES.get("csd")
    config = kind.config(
        scale=3.0, weighting="uniform", t_min=str(time), t_max=str(time), joint_views=False
    )
    guidance = kind.build(context(prior), config)
    z = torch.randn(2, 4, 8, 8, generator=generator)
    given = inputs(2)
    found = guidance.gradient(z, given)

    last = len(prior.schedule)
    t = torch.full((2,), int(time * last))
    abar = prior.schedule.abar(t, z)
    noise = given.random.normal("csd noise", tuple(z.shape), z.device)
    noisy = prior.schedule.add_noise(z, noise, t).double().requires_grad_(True)
    means = torch.stack(list(modes.values())).double()
    spread = (abar * deviation**2 + 1 - abar).double().view(-1, 1)
    offset = noisy[:, None] - abar.double().sqrt().view(-1, 1, 1, 1, 1) * means[None]
    posterior = (-0.5 * offset.square().sum((2, 3, 4)) / spread).log_softmax(1)
    (slope,) = torch.autograd.grad(posterior[:, 0].sum(), noisy)
    expected = -3.0 * (1 - abar.double()).sqrt() * slope
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


def test_csd_has_no_gradient_where_the_prompt_says_nothing():
    prior = Mixture({"one": torch.zeros(4, 8, 8)}, 1.0)
    kind = GUIDANCES.get("csd")
    guidance = kind.build(context(prior, prompt="else"), kind.config(joint_views=False))
    z = torch.randn(2, 4, 8, 8, requires_grad=True)
    one = torch.ones(2, 8, 8, 1)
    picture = z.permute(0, 2, 3, 1)
    loss = guidance(Rendering(picture, one, one, torch.zeros_like(picture)), inputs(2)).loss
    loss.backward()
    assert float(z.grad.abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_density_of_the_signed_distance_is_laplace_s():
    kind = REPRESENTATIONS.get("sdf")
    field = kind.build(kind.config(size=65, radius=0.5, beta=0.05), FieldRequest(channels=3))
    points = torch.tensor([[0.5, 0, 0], [0.3, 0, 0], [0.8, 0, 0], [0, -0.55, 0]])
    distance = points.norm(dim=1) - 0.5
    share = torch.where(
        distance > 0,
        0.5 * (-distance / 0.05).exp(),
        1 - 0.5 * (distance / 0.05).exp(),
    )
    torch.testing.assert_close(field.density(points), share / 0.05, rtol=0.05, atol=0.02)
    normals = field.normals(points)
    torch.testing.assert_close(
        normals, points / points.norm(dim=1, keepdim=True), rtol=0, atol=0.05
    )
    # A ball is a distance: its slopes have length one.
    term = field.regularisation({})["eikonal"] / field.config.eikonal
    assert float(term.detach()) < 0.01


def test_the_signed_distance_takes_over_another_field():
    voxels = VoxelField(VoxelGridConfig(size=33, blob_strength=9.0), 4)
    kind = REPRESENTATIONS.get("sdf")
    field = kind.build(kind.config(size=33, beta=0.05), FieldRequest(channels=4))
    field.load_resampled(voxels)
    points = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    wanted = voxels.density(points).clamp(max=20)
    torch.testing.assert_close(field.density(points).clamp(max=20), wanted, rtol=0.2, atol=0.7)


def test_parts_that_a_prior_does_not_read_are_refused():
    from threestudio_like.engine.errors import ModelError
    from threestudio_like.priors.model_folder import DiffusersConfig
    from threestudio_like.priors.personal.choice import PersonalParts

    given = DiffusersConfig(parts=PersonalParts(lora=(Path("clay.safetensors"),)))
    with pytest.raises(ModelError, match="--lora"):
        load_prior("oracle", given)
    assert load_prior("oracle", DiffusersConfig()).facts.name == "oracle"


def test_the_oracle_knows_its_pictures():
    prior = load_prior("oracle")
    cameras = StratifiedCameras(batch=2).sample(RandomStream(0, "c", 0), 32)
    from threestudio_like.priors.diffusion import Condition

    condition = Condition(text=prior.encode_text(["a", "b"]), cameras=cameras, background=0.5)
    t = torch.tensor([600, 600])
    noise = torch.randn(2, 3, 32, 32)
    clean = prior.clean(noise, torch.ones(1), condition)
    assert clean[:, :, 0, 0] == pytest.approx(0.5)
    assert float((clean[:, 0, 16, 16] - clean[:, 2, 16, 16]).min()) > 0.3
    noisy = prior.schedule.add_noise(clean, noise, t)
    torch.testing.assert_close(prior.epsilon(noisy, t, condition), noise, rtol=0, atol=1e-4)


def test_unknown_names_have_a_nearest_one():
    with pytest.raises(ConfigError, match='Did you mean "csd"'):
        Guidances().updated({"cds": {"weight": "1"}}, "guidance.")
    with pytest.raises(ConfigError, match="scal"):
        Guidances().updated({"csd": {"scal": "1"}}, "guidance.")
    with pytest.raises(ConfigError, match="schedule"):
        Guidances().updated({"csd": {"weight": "heavy"}}, "guidance.")
    with pytest.raises(ConfigError, match="group of keys"):
        Guidances().updated({"csd": "1"}, "guidance.")
    with pytest.raises(ConfigError, match='Did you mean "sdf"'):
        FieldConfig(kind="sfd")
    assert "oracle" in PRIORS


def test_chosen_guidances_come_back_from_plain_values_as_they_were():
    chosen = Guidances().updated(
        {"clip": {"weight": "0->0.1", "text": "a chair"}, "csd": {"scale": "7"}, "main": "csd"}, ""
    )
    plain = chosen.plain()
    assert plain["main"] == "csd"
    assert plain["clip"]["weight"] == "0->0.1"
    assert plain["csd"]["scale"] == 7.0
    assert Guidances().updated(plain, "") == chosen
    assert [g.name for g in chosen.build(context(Mixture({"one": torch.zeros(4, 8, 8)}, 1.0)))] == [
        "clip"
    ]
    # Underscores, as the command line makes them of hyphens.
    same = Guidances().updated({"score_distillation": {"weight": 1}}, "")
    assert list(same.plain()) == ["score-distillation"]


def cli(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "threestudio_like", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), environment.pop("EXTRA", "")]),
            "HF_HUB_OFFLINE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=560,
    )


QUICK = ("--faces", "300", "--texture", "128", "--no-turntable", "--quiet")


def made(folder: Path, done: subprocess.CompletedProcess[str]) -> bytes:
    assert done.returncode == 0, done.stderr
    return (folder / "run" / "asset.glb").read_bytes()


def test_generate_by_a_guidance_of_an_entry_point(tmp_path):
    """A package that is installed: its metadata name a module whose decorator registers."""
    (tmp_path / "csd_package.py").write_text((PLUG_INS / "guidance_csd.py").read_text())
    info = tmp_path / "csd_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: csd-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[threestudio_like.guidance]\ncsd = csd_package\nlost = no_such_module:x\n"
    )
    words = ("generate", "a red ball", "--guidance", "csd", "--guidance.csd.scale", "4")
    words += ("--guidance.clip.weight", "0.1", "--steps", "6", "--memory", "4GB", *QUICK)
    words += ("--start.refine.times", "", "--checkpoint-steps", "2")
    done = cli(tmp_path, *words, "--out", "run", EXTRA=str(tmp_path))
    made(tmp_path, done)
    text = (tmp_path / "run" / "run.yaml").read_text()
    assert "main: csd" in text
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert '"clip"' in events
    listed = cli(tmp_path, "doctor", EXTRA=str(tmp_path)).stdout
    assert "csd" in listed
    assert "no_such_module" in listed


def test_generate_by_a_prior_and_a_representation_of_files(tmp_path):
    files = os.pathsep.join(
        str(PLUG_INS / f"{n}.py") for n in ("prior_oracle", "representation_sdf")
    )
    words = ("generate", "a ball", "--prior", "oracle", "--system", "dreamfusion", "--steps", "20")
    words += ("--representation.kind", "sdf", "--representation.sdf.radius", "0.45", *QUICK)
    first = made(
        tmp_path,
        cli(tmp_path, *words, "--out", "run", "--memory", "4GB", THREESTUDIO_LIKE_PLUGINS=files),
    )
    assert len(first) > 1000
    refused = cli(tmp_path, *words, "--out", "other")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1


def test_reconstruct_by_a_system_of_a_file_and_export_by_a_format(tmp_path):
    hull = ("--plugins", str(PLUG_INS / "reconstruct_visual_hull.py"))
    words = ("reconstruct", str(CAR), "--method", "visual-hull", "--thickness", "0.6", *QUICK)
    # A colour a vertex shows the picture only where vertices are close.
    close = ("--faces", "4000")
    made(tmp_path, cli(tmp_path, *words, *close, *hull, "--out", "run"))
    from threestudio_like.meshes.mesh import Asset

    mesh = Asset.load(tmp_path / "run" / "asset.glb").mesh
    size = mesh.vertices.max(0) - mesh.vertices.min(0)
    assert float(size[2]) < 0.85 * float(size[0])
    off = ("--plugins", str(PLUG_INS / "export_format.py"))
    done = cli(tmp_path, "export", "run", "--to", "coff", "--verify", *off)
    assert done.returncode == 0, done.stderr
    again = Asset.load(tmp_path / "run" / "asset.coff").mesh
    assert len(again.faces) == len(mesh.faces)
    assert math.isclose(float(again.vertices.max()), float(mesh.vertices.max()), rel_tol=1e-6)
    near = cli(tmp_path, "reconstruct", str(CAR), "--method", "visual-hul", *hull)
    assert near.returncode == 2
    assert 'Did you mean "visual-hull"' in near.stderr


def test_a_broken_file_of_the_environment_stops_nothing(tmp_path, monkeypatch, capsys):
    """It is told once, and `doctor` lists it; named on the command line it is an error."""
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text("")
    broken.write_text("raise ValueError('no')")
    files = [str(path) for path in (broken, good, tmp_path / "gone.py")]
    monkeypatch.setenv("THREESTUDIO_LIKE_PLUGINS", os.pathsep.join(files))
    monkeypatch.setattr(engine_registry, "_broken_files", {})
    assert read_plugins(["a"]) == ["a", "--plugins", str(good)]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("Warning: ")
    assert "ValueError: no" in told[0]
    assert "there is no such file" in told[1]
    assert read_plugins([]) == ["--plugins", str(good)]
    assert capsys.readouterr().err == ""
    assert [one.name for one in engine_registry.broken_files()] == [files[0], files[2]]
    with pytest.raises(InputError, match="cannot be used"):
        read_plugins(["--plugins", str(broken)])
