"""Every verb on a device that is none (see `pretend`): what a GPU would refuse fails here."""

import ast
import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from pretend import ELSEWHERE, WAITS, PretendTensor, State, pretend_device

import threestudio_like
from threestudio_like.cli import main
from threestudio_like.engine.config import update
from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, ParameterGroup, Stage, StagePlan, Step
from threestudio_like.engine.training import Batches
from threestudio_like.engine.watchdog import Watchdog
from threestudio_like.guidance.choice import Guidances
from threestudio_like.kernels import devices
from threestudio_like.meshes import Asset
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.recorded import Recorded, out_of_memory
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.dreamfusion import DreamFusion
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

ASSETS = Path(__file__).parent.parent / "assets"
EMBEDDED = (
    "diffusion",
    "control",
    "clip",
    "judge",
    "depth",
    "perceptual",
    "segmenter",
    "g3dr",
    "salient",
)
START = [
    "--start.refine.times",
    "1.0",
    "--start.refine.steps",
    "1",
    "--start.iterations",
    "2",
    "--start.refine.views",
    "4",
]
FIELD = [
    *START,
    "--steps",
    "4",
    "--refine.refine.times",
    "0.3",
    "--refine.refine.steps",
    "1",
    "--refine.refine.views",
    "4",
    "--refine.iterations",
    "2",
    "--refine.rays",
    "512",
]
PAINT = [
    "--colour.paint.start.refine.steps",
    "1",
    "--colour.paint.start.iterations",
    "2",
    "--colour.paint.start.refine.views",
    "4",
]
PAPER = [
    "--preset",
    "paper",
    "--steps",
    "2",
    "--resolution",
    "8",
    "--representation.hash.levels",
    "4",
    "--representation.hash.log2-size",
    "10",
    "--renderer.samples",
    "16",
    "--renderer.occupancy",
    "8",
]
SAID = "a green sofa in front of a blue robot"
RUNS = {
    "generate": ["generate", "a red chair", *FIELD],
    "generate, paper": ["generate", "a red chair", *PAPER],
    "generate, sketch": [
        "generate",
        "a red chair",
        "--sketch",
        str(ASSETS / "shapes/stool.yaml"),
        *FIELD,
    ],
    "generate, vsd": [
        "generate",
        "a red chair",
        "--system",
        "dreamfusion",
        "--preset",
        "vsd",
        "--steps",
        "2",
    ],
    "generate, cisp": [
        "generate",
        "a red chair",
        "--system",
        "cisp",
        "--shape.candidates",
        "1",
        "--colour.complete",
        "neighbours",
    ],
    "generate, dreamfusion": ["generate", "a red chair", "--system", "dreamfusion", "--steps", "2"],
    "texture": [
        "texture",
        str(ASSETS / "shapes/mug.obj"),
        "a red mug",
        *START,
        "--rgb.steps",
        "2",
        "--pbr.steps",
        "2",
    ],
    "texture, paper": [
        "texture",
        str(ASSETS / "shapes/mug.obj"),
        "a red mug",
        "--preset",
        "paper",
        "--steps",
        "2",
        "--resolution",
        "8",
    ],
    "reconstruct, cisp": [
        "reconstruct",
        str(ASSETS / "pictures/chair.png"),
        "--method",
        "cisp",
        "--shape.candidates",
        "1",
        *PAINT,
        "--prompt",
        "a red chair",
    ],
    "reconstruct, g3dr": [
        "reconstruct",
        str(ASSETS / "pictures/chair.png"),
        "--method",
        "g3dr",
        "--colour.complete",
        "neighbours",
    ],
    "reconstruct, optimise": [
        "reconstruct",
        str(ASSETS / "pictures/chair.png"),
        "--method",
        "optimise",
        "--distil.steps",
        "2",
        "--start.steps",
        "2",
        "--colour.complete",
        "neighbours",
    ],
    "compose": [
        "compose",
        str(ASSETS / "pictures/scene.png"),
        SAID,
        "--objects",
        str(ASSETS / "meshes/robot.glb"),
        str(ASSETS / "meshes/knot.glb"),
        "--place.steps",
        "2",
        "--place.views",
        "2",
    ],
    "compose, text": [
        "compose",
        "--text",
        "a red robot left of a blue mug",
        "--objects",
        str(ASSETS / "meshes/robot.glb"),
        str(ASSETS / "meshes/knot.glb"),
        "--starts",
        "2",
        "--place.steps",
        "2",
    ],
}


@pytest.fixture
def any_device(monkeypatch):
    """Errors come with their traces."""
    monkeypatch.setenv("THREESTUDIO_LIKE_DEBUG", "1")


def run(arguments, out):
    common = [
        "--device",
        str(ELSEWHERE),
        "--dtype",
        "float32",
        "--quiet",
        "--preview-seconds",
        "0",
        "--out",
        str(out),
        "--faces",
        "600",
        "--texture",
        "64",
    ]
    # One run draws a turntable there, which takes as long as the rest.
    still = [] if arguments is RUNS["generate"] else ["--no-turntable"]
    with pretend_device():
        return main([*arguments, *still, *common])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stays_on_its_device(name, tmp_path, any_device):
    assert run(RUNS[name], tmp_path / "run") == 0
    assert Asset.load(tmp_path / "run/asset.glb").meshes


def test_refinement_and_resuming_on_another_device(tmp_path, any_device):
    assert (
        run(
            ["generate", "a red chair", *START, "--steps", "2", "--refine.refine.times", ""],
            tmp_path / "one",
        )
        == 0
    )
    assert run(["refine", str(tmp_path / "one"), "--steps", "2"], tmp_path / "two") == 0
    # What was made there is opened here.
    assert main(["export", str(tmp_path / "one"), "--to", "ply"]) == 0


def test_every_training_runs_on_its_device_and_its_weights_serve(tmp_path, any_device, monkeypatch):
    few = [
        "--steps",
        "2",
        "--groups",
        "8",
        "--objects",
        "8",
        "--quiet",
        "--out",
        str(tmp_path / "trained"),
    ]
    with pretend_device():
        assert main(["train", "all", *few, "--device", str(ELSEWHERE)]) == 0
    weights = tmp_path / "trained/weights"
    assert {f.name for f in weights.iterdir()} == {*EMBEDDED, "cisp"}
    assert {f.name for f in (weights / "cisp").iterdir()} == {
        "cisp",
        "clip",
        "voxels-cisp",
        "voxels-clip",
    }
    monkeypatch.setenv("THREESTUDIO_LIKE_WEIGHTS", str(weights))
    assert all(embedded_folder(name).parent == weights for name in EMBEDDED)
    assert (
        main(
            [
                "generate",
                "a red chair",
                *FIELD,
                "--quiet",
                "--faces",
                "600",
                "--texture",
                "64",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )


def with_variation(system):
    """The same system with variational score distillation."""
    chosen = Guidances().updated({"main": "vsd", "vsd": {}}, "")
    return dataclasses.replace(system, distil=dataclasses.replace(system.distil, guidances=chosen))


def test_a_word_is_learned_on_its_device(tiny_folder, tmp_path, any_device):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        Image.new("RGB", (16, 16), (200, 40 * number, 30)).save(pictures / f"{number}.png")
    line = ["train", "concept", "--images", str(pictures), "--token", "<thing>", "--word", "mug"]
    line += ["--prior", str(tiny_folder), "--steps", "2", "--quiet"]
    with pretend_device() as there:
        assert main([*line, "--device", str(there), "--out", str(tmp_path / "word")]) == 0
    learned = load_file(tmp_path / "word/learned_embeds.safetensors")["<thing>"]
    assert bool(learned.isfinite().all())


@pytest.mark.parametrize(
    "system",
    [LatentNerf.paper(), DreamFusion.paper(), with_variation(LatentNerf.paper())],
    ids=["latent-nerf", "dreamfusion", "vsd"],
)
def test_a_step_waits_for_the_device_once(tiny_folder, system):
    """Besides what the kernels themselves need to know: a wait leaves a GPU idle until the next
    launch."""
    counted = []
    changes = {
        "representation": {"hash": {"levels": 2, "log2_size": 8}},
        "renderer": {"samples": 8, "occupancy": 8},
        "resolution": 8,
    }
    system = update(system, changes)
    with pretend_device() as there:
        prior = StableDiffusionPrior(
            tiny_folder, DiffusersConfig(dtype="float32", device=str(there)), "tiny"
        )
        (plan,) = system.plans(Request("a red chair", prior))

        def build(done):
            stage = plan.build(done)
            stage.steps, loss = 6, stage.loss

            def watched(step):
                counted.append([w for w in WAITS if not w.startswith("kernels/")])
                WAITS.clear()
                return loss(step)

            stage.loss = watched
            return stage

        settings = LoopSettings(device=str(there), log_every=1000)
        Loop(None, Events(None, "quiet"), settings, Watchdog()).run([StagePlan(plan.name, build)])
    # The first step looks at the whole occupancy grid.
    assert [len(waits) for waits in counted[2:]] == [1] * 4, counted[2:]
    assert all("watchdog.py" in waits[0] for waits in counted[2:])


def test_no_code_outside_kernels_and_priors_names_a_device():
    package = Path(threestudio_like.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in ("kernels", "priors"):
            continue
        tree = ast.parse(path.read_text())
        # Docstrings may: they are for readers.
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in said
            ):
                named = re.search(r"\b(cpu|cuda|mps)\b", node.value)
            else:
                named = isinstance(node, ast.Attribute) and node.attr in ("cuda", "mps")
            if named:
                found.append(f"{path.relative_to(package)}:{node.lineno}")
    assert not found


def test_batches_are_the_same_on_every_device():
    model = torch.nn.Linear(2, 1)

    def draw(step):
        return {"x": torch.randn(4, generator=step.random.generator("batch")), "n": step.index}

    def steps(count):
        return [Step("fit", n, count, n / count, 5) for n in range(count)]

    here = [Batches(draw, model)(step) for step in steps(20)]
    with pretend_device() as there:
        model.to(there)
        batches = Batches(draw, model)
        # Also when steps are left out, as after a rescue.
        for step in (*steps(20)[:12], *steps(20)[4:]):
            drawn = batches(step)
            assert drawn["x"].device == there
            assert drawn["n"] == step.index
            assert torch.equal(drawn["x"].cpu(), here[step.index]["x"])


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretend_device() as there:
        a = torch.ones(3, device=there)
        with pytest.raises(RuntimeError, match="two devices"):
            a + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            a.numpy()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(a)
        assert isinstance(a + 1, PretendTensor)
        assert type(a.cpu()) is torch.Tensor
        assert (a * 2).tolist() == [2.0, 2.0, 2.0]


def test_the_pretended_device_refuses_another_than_the_current_one():
    with pretend_device(2) as there:
        a = torch.ones(3, device=there)
        State.current = 1
        with pytest.raises(RuntimeError, match="the current device is 1"):
            a + 1
        assert torch.ones(3, device="lazy:1").device.index == 1
        assert a.cpu().tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(RuntimeError, match="ordinal"):
            torch.ones(3, device="lazy:2")


def test_a_device_has_its_number_and_is_the_current_one():
    with pretend_device(2):
        assert devices.settle("lazy") == "lazy:0"
        assert State.current == 0
        assert devices.settle("lazy:1") == "lazy:1"
        assert State.current == 1
        assert devices.settle("cpu") == "cpu"
        # The ranks of a run take one each.
        for rank in range(2):
            assert devices.settle("lazy", rank, 2) == f"lazy:{rank}"
            assert State.current == rank
        with pytest.raises(ConfigError, match="2 ranks cannot share one device"):
            devices.settle("lazy:1", 0, 2)
        with pytest.raises(ConfigError, match="3 ranks want a device each, and there are 2"):
            devices.settle("lazy", 0, 3)
    assert devices.settle("cpu", 1, 2) == "cpu"


def test_a_recording_is_made_once_a_shape_and_a_device():
    calls = []
    with pretend_device(2, record=True):
        graph = Recorded(lambda x, t: x * t[:, None] + 1)
        for index in (0, 1):
            devices.settle(f"lazy:{index}")
            for number in range(4):
                x = torch.full((2, 3), float(number)).to(f"lazy:{index}")
                t = torch.tensor([2.0, 3.0]).to(f"lazy:{index}")
                out = graph(x, t)
                assert out.device.index == index
                assert out.cpu().tolist() == (x * t[:, None] + 1).cpu().tolist()
                calls.append(State.recorded)
        # The first call of each is plain; the second is recorded, and then done again.
        assert calls == [0, 1, 2, 3, 3, 4, 5, 6]
        assert len(graph._made) == 2
        graph.forget()
        assert not graph._made
        assert graph(x, t).cpu().tolist() == out.cpu().tolist()
        assert State.recorded == 6


def test_work_that_no_graph_holds_is_refused():
    with pretend_device(record=True) as there:
        x = torch.ones(2, 4).to(there)
        for illegal in (
            lambda x: x + torch.ones(4).to(x.device),
            lambda x: x * float(x.sum()),
            lambda x: x + x.cpu().sum().to(x.device),
        ):
            graph = Recorded(illegal)
            graph(x)
            with pytest.raises(RuntimeError, match="capturing"):
                graph(x)


def test_memory_that_runs_out_in_a_recording_frees_all_recordings():
    """As CUDA tells it: the recording fails for another reason, and the shortage came before."""
    short = []

    def run(x):
        if short and State.recording:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x + 1

    with pretend_device(record=True) as there:
        graph = Recorded(run)
        x = torch.ones(2, 4).to(there)
        graph(x)
        graph(x)
        assert len(graph._made) == 1
        short.append(True)
        y = torch.ones(3, 4).to(there)
        graph(y)
        with pytest.raises(torch.OutOfMemoryError):
            graph(y)
        assert not graph._made
        assert graph(y).cpu().tolist() == [[2.0] * 4] * 3
    hidden = RuntimeError("capture was invalidated")
    hidden.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert isinstance(out_of_memory(hidden), torch.OutOfMemoryError)
    assert out_of_memory(RuntimeError("capture was invalidated")) is None


def test_a_prior_records_its_denoiser_and_forgets_it_when_memory_is_short(tiny_folder):
    """What of a prediction is not legal in a graph fails here; the forecast counts the graph."""
    with pretend_device(record=True) as there:
        prior = StableDiffusionPrior(
            tiny_folder, DiffusersConfig(dtype="float32", device=str(there)), "tiny"
        )
        condition = Condition(prior.encode_text(["a red chair", ""]))
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([20, 700])
        first, *others = (prior.predict(latents, t, condition).cpu() for _ in range(3))
        assert State.recorded == 2
        assert all(torch.equal(first, other) for other in others)
        counted = prior.rehearse(8, 2, 1, False, False)
        assert counted.recorded == counted.denoising > 0
        assert "without recorded graphs" in prior.shrink()
        assert prior.rehearse(8, 2, 1, False, False).recorded == 0
        assert torch.equal(prior.predict(latents, t, condition).cpu(), first)
        assert State.recorded == 2


def test_a_stage_is_on_the_device_while_it_runs_and_its_checkpoint_is_not(tmp_path):
    module = torch.nn.Linear(2, 1)
    seen = []

    def loss(step):
        seen.append(module.weight.device.type)
        return {"fit": module(torch.ones(1, 2).to(module.weight)).square().sum()}

    def plan(_):
        return Stage(
            "fit", 3, {"module": module}, [ParameterGroup("all", list(module.parameters()))], loss
        )

    with pretend_device() as there:
        Loop(tmp_path, Events(None, "quiet"), LoopSettings(device=str(there))).run(
            [StagePlan("fit", plan)]
        )
    assert set(seen) == {ELSEWHERE.type}
    assert module.weight.device.type == "cpu"
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_a_prior_takes_and_gives_tensors_of_its_device(tiny_folder):
    with pretend_device() as there:
        prior = StableDiffusionPrior(
            tiny_folder, DiffusersConfig(dtype="float32", device=str(there)), "tiny"
        )
        latents = prior.encode_image(torch.rand(1, 16, 16, 3))
        assert latents.device == there
        assert prior.decode_latents(latents).device == there
        assert prior.encode_text(["a red chair"]).device == there
