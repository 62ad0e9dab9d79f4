"""Several processes that make one asset: the same result as one, and what happens when one of them
dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from pretend import pretend_device

from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.engine.parallel import MEETING, RANK, WORLD
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.stage import ParameterGroup, Stage, StagePlan, Step
from threestudio_like.priors.stable_diffusion import StableDiffusionPrior

from .rounding import apart, of_sum

ROOT = Path(__file__).parent.parent


def command(tiny_folder, out, steps, *more):
    return [
        "generate",
        "a red chair",
        "--prior",
        str(tiny_folder),
        "--preset",
        "paper",
        "--steps",
        str(steps),
        "--dtype",
        "float32",
        "--representation.hash.levels",
        "4",
        "--representation.hash.log2-size",
        "10",
        "--renderer.samples",
        "16",
        "--renderer.occupancy",
        "16",
        "--export.resolution",
        "24",
        "--faces",
        "300",
        "--texture",
        "64",
        "--distil.uniform.batch",
        "4",
        "--out",
        str(out),
        "--quiet",
        "--no-turntable",
        "--keep",
        "all",
        *more,
    ]


def painting(tiny_folder, steps):
    return [
        "texture",
        str(ROOT / "assets/shapes/mug.obj"),
        "a red mug",
        "--prior",
        str(tiny_folder),
        "--preset",
        "paper",
        "--steps",
        str(steps),
        "--dtype",
        "float32",
        "--latent.uniform.batch",
        "4",
        "--texture",
        "64",
        "--quiet",
        "--no-turntable",
        "--keep",
        "all",
    ]


def processes(arguments, folder, world=2):
    found = []
    for rank in range(world):
        told = {
            RANK: str(rank),
            WORLD: str(world),
            MEETING: str(folder / "meeting"),
            "OMP_NUM_THREADS": "1",
        }
        found.append(
            subprocess.Popen(
                [sys.executable, "-m", "threestudio_like", *arguments],
                env={**os.environ, **told},
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return found


def test_a_share_of_random_numbers_is_a_part_of_the_whole():
    random = RandomStream(0, "a", 3)
    whole = random.normal("noise", (4, 2, 3))
    parts = [random.microbatch(rank, 2).normal("noise", (2, 2, 3)) for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(random.microbatch(1, 2).uniform("level"), random.uniform("level"))
    assert torch.equal(random.microbatch(1, 2).whole.uniform("x", (3,)), random.uniform("x", (3,)))


def test_views_that_cannot_be_shared_are_said():
    assert Step("a", 0, 1, 0.0, 0, 1, 2).microbatch_views(4) == slice(2, 4)
    with pytest.raises(ConfigError, match="3 views a step cannot be divided by 2"):
        Step("a", 0, 1, 0.0, 0, 0, 2).microbatch_views(3)


def checkpoint_of(folder):
    return load_file(folder / "work/checkpoint.safetensors")


def first_moments(folder):
    """Adam's first moments after one step are a tenth of its gradients."""
    return {k: v for k, v in checkpoint_of(folder).items() if k.endswith("exp_avg")}


@pytest.mark.parametrize("verb", ["generate", "texture", "refine"])
def test_two_ranks_make_bit_for_bit_what_one_makes_in_two_parts(verb, tiny_folder, tmp_path):
    """Several steps on, through Adam, which magnifies any rounding: field, moments and asset."""
    if verb == "refine":
        assert main(command(tiny_folder, tmp_path / "source", 2)) == 0
        line = [
            "refine",
            str(tmp_path / "source"),
            "--preset",
            "paper",
            "--steps",
            "3",
            "--resolution",
            "16",
            "--rgb.uniform.batch",
            "4",
            "--renderer.samples",
            "16",
            "--renderer.occupancy",
            "16",
            "--export.resolution",
            "24",
            "--faces",
            "300",
            "--texture",
            "64",
            "--quiet",
            "--no-turntable",
            "--keep",
            "all",
        ]
    else:
        line = command(tiny_folder, tmp_path, 4) if verb == "generate" else painting(tiny_folder, 4)
    one, two = tmp_path / "one", tmp_path / "two"
    threads = torch.get_num_threads()
    try:
        # A sum over threads is in another order than a sum without.
        torch.set_num_threads(1)
        assert main([*line, "--accumulate", "2", "--out", str(one)]) == 0
        assert main([*line, "--ranks", "2", "--out", str(two)]) == 0
    finally:
        torch.set_num_threads(threads)
    ours, theirs = checkpoint_of(one), checkpoint_of(two)
    assert ours.keys() == theirs.keys()
    assert any(name.endswith("exp_avg_sq") for name in ours)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert (one / "asset.glb").read_bytes() == (two / "asset.glb").read_bytes()


KINDS = {
    "paper": (),
    "sketch": (
        "--sketch",
        str(ROOT / "assets/shapes/chair.yaml"),
        "--sketch.samples",
        "400",
        "--sketch.points",
        "300",
    ),
    # Without "orient", whose mean is over the rays of a part that meet anything, as published.
    "dreamfusion": (
        "--system",
        "dreamfusion",
        "--resolution",
        "12",
        "--distil.regularise.orient",
        "0",
    ),
    "regularised": (
        "--distil.regularise.sparsity",
        "1",
        "--distil.regularise.nearness",
        "1",
        "--distil.regularise.distortion",
        "1",
        "--distil.regularise.orientation",
        "1",
    ),
    "shared time": ("--distil.guidance.shared-time", "True", "--distil.guidance.rescale", "0.5"),
    "perp-neg": ("--distil.guidance.perp-neg", "1"),
    "variational": ("--guidance", "vsd", "--distil.guidances.vsd.own-scale", "1.5"),
}


@pytest.fixture
def predictions_one_by_one(monkeypatch):
    """The UNet sees one entry at a time, so that a prediction does not depend on how many views
    are rendered at once: guidance magnifies such rounding by its scale."""

    def one_by_one(self, count, condition):
        return [slice(number, number + 1) for number in range(count)]

    monkeypatch.setattr(StableDiffusionPrior, "_parts", one_by_one)


@pytest.mark.parametrize("kind", [*KINDS, "painting"])
def test_parts_have_the_gradient_of_the_whole(kind, tiny_folder, tmp_path, predictions_one_by_one):
    """Every term of the loss, up to the order in which the samples of four views are summed. What
    ranks make is held to the last bit of what parts make."""
    if kind == "painting":
        line = painting(tiny_folder, 1)
    else:
        line = [*command(tiny_folder, tmp_path, 1), *KINDS[kind]]
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    assert main([*line, "--accumulate", "2", "--out", str(tmp_path / "parts")]) == 0
    whole, parts = first_moments(tmp_path / "whole"), first_moments(tmp_path / "parts")
    assert any(float(moment.abs().max()) > 0 for moment in whole.values())
    for name in whole:
        assert apart(whole[name], parts[name]) <= of_sum(4 * 64 * 64 * 16)


def test_the_terms_of_parts_are_their_means():
    """The loop adds gradients up and tells the mean of every term; a stage that shares nothing is
    run once."""
    for shared, calls in ((True, 3), (False, 1)):
        weight, begun, seen = torch.nn.Parameter(torch.zeros(1)), [], []

        def loss(step, weight=weight, seen=seen):
            seen.append((step.microbatch_index, step.microbatches))
            return {
                "a": (weight * (1.0 + step.microbatch_index)).sum(),
                "b": torch.tensor(float(step.microbatch_index)),
            }

        module = torch.nn.Module()
        module.weight = weight
        stage = Stage(
            "s",
            1,
            {"m": module},
            [ParameterGroup("g", [weight])],
            loss,
            shared=shared,
            before_step=begun.append,
        )
        told = []
        events = Events()
        events.record = lambda event, told=told, **more: told.append({"event": event, **more})
        Loop(None, events, LoopSettings(accumulate=3, log_every=1)).run(
            [StagePlan("s", lambda done, stage=stage: stage)]
        )
        assert len(begun) == 1
        assert seen == [(k, calls) for k in range(calls)]
        assert weight.grad.item() == pytest.approx((1 + calls) / 2)
        terms = next(e for e in told if e["event"] == "step")["terms"]
        assert terms == pytest.approx({"a": 0.0, "b": (calls - 1) / 2})


def test_a_rank_that_dies_ends_the_run_with_a_checkpoint_that_one_rank_resumes(
    tiny_folder, tmp_path
):
    arguments = command(tiny_folder, tmp_path / "run", 400, "--checkpoint-steps", "1000")
    leader, helper = processes(arguments, tmp_path)
    events = tmp_path / "run/events.jsonl"
    while not (events.is_file() and '"step"' in events.read_text()):
        assert leader.poll() is None, leader.stderr.read()
        time.sleep(0.1)
    helper.send_signal(signal.SIGKILL)
    said = leader.communicate(timeout=120)[1]
    assert leader.returncode == 2
    assert "another rank has failed" in said
    assert "--resume" in said
    assert said.strip().count("\n") == 0
    helper.communicate()
    done = [json.loads(line) for line in events.read_text().splitlines()]
    reached = max(e["step"] for e in done if e["event"] == "step")
    # The checkpoint is that of the last whole step; one rank goes on from it.
    assert main([*arguments, "--resume", "--minutes", "0.02"]) == 0
    begun = [json.loads(line) for line in events.read_text().splitlines() if '"stage"' in line]
    assert [e["start"] for e in begun if e["event"] == "stage"][-1] >= reached
    assert (tmp_path / "run/asset.glb").is_file()


TWO_WORKS = """
import sys
from pathlib import Path
import torch
from threestudio_like.commands.generate import Generate
from threestudio_like.engine.stage import ParameterGroup, Stage, StagePlan
from threestudio_like.runs.options import RunOptions
from threestudio_like.runs.session import Run

module = torch.nn.Linear(1, 1)
stage = Stage(
    "s",
    3,
    {"m": module},
    [ParameterGroup("g", list(module.parameters()))],
    lambda step: {"a": module.weight.square().sum()},
)
plans = [StagePlan("s", lambda done: stage)]
options = Generate(run=RunOptions(out=Path(sys.argv[1]), quiet=True))
with Run.open("generate", options, name="two works") as run:
    run.describe({"prompt": "a"}, None)
    run.execute(plans, "shape", last=False)
    run.execute(plans, last=False)
    run.lead_alone()
    print("alone")
"""


def scripts(text, tmp_path, *more):
    """Two ranks of a script; what they said on standard output and as errors."""
    ranks = []
    for rank in range(2):
        told = {RANK: str(rank), WORLD: "2", MEETING: str(tmp_path / "meeting")}
        line = [sys.executable, "-c", text, str(tmp_path / "run"), *more]
        place = {**os.environ, **told, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        ranks.append(subprocess.Popen(line, env=place, cwd=tmp_path, **pipes))
    return ranks, [process.communicate(timeout=1200) for process in ranks]


def test_ranks_stay_together_over_several_works(tmp_path):
    """A picture's shape and its colours are two works of one run; the helpers part after both."""
    ranks, said = scripts(TWO_WORKS, tmp_path)
    assert [process.returncode for process in ranks] == [0, 0], said
    assert [out.strip() for out, _ in said] == ["alone", ""]
    assert (tmp_path / "run" / "shape" / "work" / "checkpoint.safetensors").is_file()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "meeting") == ["run"]


ON_DEVICES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
import torch.distributed as dist
from pretend import State, pretend_device
from threestudio_like.commands.generate import Generate
from threestudio_like.engine.stage import ParameterGroup, Stage, StagePlan
from threestudio_like.runs.options import RunOptions
from threestudio_like.runs.session import Run

real, send = dist.all_reduce, dist.broadcast_object_list


def all_reduce(tensor):
    # As NCCL: on the rank's own device, which is the current one.
    assert (tensor.device.type, tensor.device.index) == ("lazy", State.current), tensor.device
    copy = tensor.detach().cpu()
    real(copy)
    tensor.copy_(copy)


dist.all_reduce = all_reduce
dist.broadcast_object_list = lambda message, src, device: send(message, src=src)
dist.get_default_backend_for_device = lambda device: "gloo"
module = torch.nn.Linear(1, 1)
seen = set()


def loss(step):
    seen.add(str(module.weight.device))
    return {"a": module.weight.square().sum() * (1 + step.microbatch_index)}


stage = Stage("s", 2, {"m": module}, [ParameterGroup("g", [module.weight])], loss, shared=True)
with pretend_device(2):
    options = Generate(run=RunOptions(out=Path(sys.argv[1]), quiet=True, device="lazy"))
    with Run.open("generate", options, name="on devices") as run:
        run.describe({"prompt": "a"}, None)
        run.execute([StagePlan("s", lambda done: stage)], last=False)
        print(run.device(), State.current, *seen, flush=True)
        run.lead_alone()
"""


def test_two_ranks_work_on_two_devices(tmp_path):
    """One device each, which is the current one; what they send is there too."""
    ranks, said = scripts(ON_DEVICES, tmp_path, str(ROOT / "tests"))
    assert [process.returncode for process in ranks] == [0, 0], said
    assert [out.split() for out, _ in said] == [
        [f"lazy:{rank}", str(rank), f"lazy:{rank}"] for rank in range(2)
    ]


VSD_ON_DEVICES = """
import sys
sys.path.insert(0, sys.argv[2])
import torch
import torch.distributed as dist
from pretend import State, pretend_device

torch.set_num_threads(1)
real, send = dist.all_reduce, dist.broadcast_object_list


def all_reduce(tensor):
    assert (tensor.device.type, tensor.device.index) == ("lazy", State.current), tensor.device
    copy = tensor.detach().cpu()
    real(copy)
    tensor.copy_(copy)


dist.all_reduce = all_reduce
dist.broadcast_object_list = lambda message, src, device: send(message, src=src)
dist.get_default_backend_for_device = lambda device: "gloo"
from threestudio_like.cli import main

with pretend_device(2):
    code = main([*sys.argv[3:], "--out", sys.argv[1]])
    print(code, State.current, flush=True)
    sys.exit(code)
"""


def test_two_devices_train_one_copy_of_variational_distillation(tiny_folder, tmp_path):
    """The copy that is trained beside the prior is one over both devices: two of them make, bit for
    bit, what one makes of the views in two parts, several steps of copy and field on."""
    line = [*command(tiny_folder, tmp_path, 2), *KINDS["variational"], "--device", "lazy"]
    line += ["--threads", "1", "--distil.uniform.batch", "2", "--renderer.occupancy", "8"]
    line += ["--resolution", "8", "--renderer.samples", "8", "--export.resolution", "24"]
    # The launcher starts ranks of its own; these are told which they are.
    ranks, said = scripts(VSD_ON_DEVICES, tmp_path, str(ROOT / "tests"), *line)
    assert [process.returncode for process in ranks] == [0, 0], said
    assert [out.split() for out, _ in said] == [["0", "0"], ["0", "1"]]
    one = tmp_path / "one"
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with pretend_device():
            assert main([*line, "--accumulate", "2", "--out", str(one)]) == 0
    finally:
        torch.set_num_threads(threads)
    ours, theirs = checkpoint_of(one), checkpoint_of(tmp_path / "run")
    assert ours.keys() == theirs.keys()
    assert any("lora" in name or "copy" in name for name in ours), sorted(ours)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert (one / "asset.glb").read_bytes() == (tmp_path / "run" / "asset.glb").read_bytes()


NAN_ON_ONE = """
import os
from pathlib import Path
import torch
from threestudio_like.engine.errors import UserError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.engine.parallel import MEETING, RANK, ProcessGroup
from threestudio_like.engine.stage import ParameterGroup, Stage, StagePlan
from threestudio_like.engine.watchdog import Watchdog

rank = int(os.environ[RANK])
workers = ProcessGroup(rank, 2, Path(os.environ[MEETING]))
module = torch.nn.Linear(1, 1)
stage = Stage(
    "s",
    3,
    {"m": module},
    [ParameterGroup("g", list(module.parameters()))],
    lambda step: {"a": module.weight.square().sum(), "b": torch.tensor(0.0 if rank else torch.nan)},
)
try:
    Loop(None, Events(), LoopSettings(), Watchdog(), workers).run([StagePlan("s", lambda d: stage)])
except UserError as error:
    print(error.line())
"""


def test_a_loss_that_is_no_number_on_one_rank_is_none_on_all(tmp_path):
    _, said = scripts(NAN_ON_ONE, tmp_path)
    for out, problems in said:
        assert "the loss is not a number at step 0" in out, problems


def test_a_mistake_is_said_once(tmp_path):
    line = [
        sys.executable,
        "-m",
        "threestudio_like",
        "generate",
        "a red chairr",
        "--ranks",
        "2",
        "--out",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_ranks_that_cannot_work_are_refused(tiny_folder, tmp_path, capsys):
    assert main(["generate", "a red chair", "--ranks", "0", "--out", str(tmp_path / "x")]) == 2
    assert "--ranks: must be at least 1" in capsys.readouterr().err
    assert main(["generate", "a red chair", "--accumulate", "0", "--out", str(tmp_path / "x")]) == 2
    assert "--accumulate: must be from 1 to 1024" in capsys.readouterr().err
    assert (
        main(["generate", "a red chair", "--accumulate", "2", "--out", str(tmp_path / "joint")])
        == 2
    )
    assert "views that are denoised together cannot be shared" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    arguments = command(tiny_folder, tmp_path / "three", 1)
    arguments[arguments.index("--distil.uniform.batch") + 1] = "3"
    ranks = processes(arguments, tmp_path)
    said = [p.communicate(timeout=240)[1] for p in ranks]
    assert [p.returncode for p in ranks] == [2, 2]
    assert any("3 views a step cannot be divided by 2" in text for text in said)
