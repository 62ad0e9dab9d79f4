"""The Python API: what the command line does, with the same options, checks and bytes."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch

import threestudio_like as tsl
from threestudio_like.commands import api
from threestudio_like.commands.generate import Generate
from threestudio_like.priors.oracle import Gaussian, PointMass
from threestudio_like.runs.contents import digest_of_prior
from threestudio_like.runs.record import RunRecord
from threestudio_like.runs.repeat import made_in_python
from threestudio_like.runs.session import Run

from .runs import QUICK, run, sha

VALUES = {
    "start.refine.times": 1.0,
    "start.refine.steps": np.int64(2),
    "start.iterations": 8,
    "export.resolution": 64,
}
FACTS = {"prompt": "a chair", "prior": "toybox"}
SMALL = tsl.AssetOptions(texture=128, faces=1500, turntable=False)


def quick(folder, **more):
    return tsl.generate(
        "a red chair",
        steps=10,
        set=VALUES,
        asset=SMALL,
        run=tsl.RunOptions(out=folder, quiet=True),
        **more,
    )


def test_a_function_makes_the_bytes_of_its_command(tmp_path):
    result = quick(tmp_path / "python")
    words = ("--out", tmp_path / "shell", "--quiet", *QUICK)
    assert run("generate", "a red chair", *words) == 0
    assert sha(result.folder / "asset.glb") == sha(tmp_path / "shell" / "asset.glb")
    assert result.verdict.passed
    assert result.figures["faces"] <= 1500
    assert "<iframe" in result._repr_html_()
    assert "<canvas" in result.asset._repr_html_().replace("&lt;", "<")


def test_a_configuration_and_a_prior_made_in_python(tmp_path):
    from dataclasses import replace

    base = tsl.LatentNerf()
    config = replace(
        base,
        start=replace(
            base.start, iterations=8, refine=replace(base.start.refine, times=(1.0,), steps=2)
        ),
        distil=replace(base.distil, steps=3),
        rgb=replace(base.rgb, steps=7),
    )
    prior = tsl.load_prior("toybox")
    made = tsl.generate(
        "a red chair",
        system=config,
        prior=prior,
        set={"export.resolution": 64},
        asset=SMALL,
        run=tsl.RunOptions(out=tmp_path / "a", quiet=True),
    )
    named = quick(tmp_path / "b")
    assert sha(made.folder / "asset.glb") == sha(named.folder / "asset.glb")


def test_a_run_goes_on_with_the_prior_that_it_was_begun_with(tmp_path, capsys):
    """As a command opens it: another prior of the class, none, and the same; then what would take
    the prior by name."""

    def began(prior: PointMass | None, **more: bool) -> None:
        options = Generate(prompt="a chair", run=tsl.RunOptions(out=tmp_path / "a", **more))
        with (
            made_in_python({"prior": prior, "system": None}),
            Run.open("generate", options, name="chair") as run,
        ):
            run.describe(FACTS, tsl.LatentNerf())
            run._write_record()

    mass = PointMass(torch.full((3, 8, 8), 0.5))
    began(mass)
    for other in (PointMass(torch.full((3, 8, 8), 0.25)), Gaussian(mass.mu, 0.1), None):
        with pytest.raises(tsl.UserError, match="different: prior object"):
            began(other, resume=True)
    began(PointMass(mass.mu.clone()), resume=True)
    with pytest.raises(tsl.UserError, match="a prior of your own"):
        tsl.refine(tmp_path / "a")
    record = RunRecord(command="generate", options={"run": {}}, facts=FACTS)
    record.write(tmp_path / "a")
    capsys.readouterr()
    began(mass, resume=True)
    assert "does not say that it was begun with a prior" in capsys.readouterr().err


def test_a_prior_is_told_by_its_weights_and_not_by_what_it_has_done():
    first, second = tsl.load_prior("toybox"), tsl.load_prior("toybox", dtype="float32")
    before = digest_of_prior(first)
    assert digest_of_prior(second) == before
    second.encode_text(["a red chair"])
    assert digest_of_prior(second) == before
    with torch.no_grad():
        next(second.denoiser.parameters()).add_(1)
    assert digest_of_prior(second) != before


@pytest.mark.parametrize("times", [(), [0.9, 0.5], (np.float64(0.9), 0.5)])
def test_sequences_of_set_are_values_of_several_numbers(times):
    """Before, they met the reader with their brackets."""
    from threestudio_like.commands.api.options import build_options
    from threestudio_like.commands.generate import Generate
    from threestudio_like.runs.configure import configure

    values = {"prompt": "a red chair"}
    options = build_options(
        Generate, None, values=values, method={}, seed=0, set={"start.refine.times": times}
    )
    assert configure(options, tsl.LatentNerf()).start.refine.times == tuple(map(float, times))


def test_what_export_evaluate_resume_and_open_run_return(tmp_path):
    result = quick(tmp_path / "a")
    files = tsl.export(result, ["obj", "stl"], verify=True)
    assert [f.suffix for f in files] == [".obj", ".stl"]
    figures = tsl.evaluate(result, instances=2)
    assert figures["prompt"] == "a red chair"
    assert tsl.open_run(result.folder).field.channels == 3
    again = tsl.resume(result.folder)
    assert again.verdict.passed
    assert again.figures["faces"] == result.figures["faces"]


WRONG = {
    "steps that are a fraction": {"steps": 2.5},
    "steps that are a word": {"steps": "many"},
    "steps below one": {"steps": 0},
    "no seed": {"seed": -1},
    "seed that is a truth value": {"seed": True},
    "no such system": {"system": "latent-nref"},
    "no such preset": {"preset": "fast"},
    "values that are a list": {"set": [1]},
    "a value that is not there": {"set": {"distil.guidence.scale": 3}},
    "a number that is none": {"set": {"distil.guidance.scale": float("nan")}},
    "a prior that is not there": {"prior": "toy-box"},
    "a tiny texture": {"asset": tsl.AssetOptions(texture=3)},
    "a system of another task": {"system": "latent-paint"},
    "a guidance that is not there": {"guidance": "cpil"},
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_are_checked_as_on_the_command_line(name, tmp_path):
    with pytest.raises(tsl.UserError):
        tsl.generate(
            "a red chair", run=tsl.RunOptions(out=tmp_path / "x", quiet=True), **WRONG[name]
        )
    assert not (tmp_path / "x").exists()


def test_numbers_of_numpy_are_numbers(tmp_path):
    result = quick(tmp_path / "a", seed=np.int32(3))
    assert result.folder.is_dir()


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = quick("~/x")
    assert result.folder == (tmp_path / "x").resolve()


def test_everything_is_typed_and_says_what_it_raises():
    for name in api.__all__:
        function = getattr(tsl, name)
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
        assert set(hints) >= {*signature.parameters, "return"}, name
        kinds = {p.kind for p in signature.parameters.values()}
        assert inspect.Parameter.VAR_POSITIONAL not in kinds
        assert "Raises" in function.__doc__, name
    for name in tsl.__all__:
        assert getattr(tsl, name) is not None
    assert tsl.__all__ == sorted(tsl.__all__)


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, threestudio_like\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'numba'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_many_calls_in_one_process_do_not_grow(tiny_folder, tmp_path):
    """Twenty calls with a small prior: the first eight fill caches, and the other twelve may add
    less than 30 MB."""
    resource = pytest.importorskip("resource")
    values = {
        "representation.hash.levels": 2,
        "representation.hash.log2_size": 8,
        "renderer.samples": 8,
        "renderer.occupancy": 8,
        "distil.uniform.batch": 1,
        "export.resolution": 32,
    }
    prior = tsl.load_prior(tiny_folder)
    peak = []
    for number in range(20):
        tsl.generate(
            "a corgi",
            prior=prior,
            steps=1,
            set=values,
            asset=tsl.AssetOptions(texture=64, faces=60, turntable=False),
            run=tsl.RunOptions(out=tmp_path / str(number), quiet=True, keep="nothing"),
        )
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert peak[-1] - peak[7] < 30


def test_a_loop_of_ones_own_needs_public_names_alone():
    prior = tsl.load_prior("toybox")
    field = tsl.VoxelField(tsl.VoxelGridConfig(size=16, sigmoid=True), channels=3)
    renderer = tsl.VolumeRenderer(tsl.VolumeConfig(samples=16))
    config = tsl.ScoreDistillationConfig(scale=3.0, image_residual=True)
    guidance = tsl.ScoreDistillation(prior, "a red chair", config, encode=True)
    optimiser = torch.optim.Adam(field.parameters(), lr=0.05)
    before = field.grid.detach().clone()
    for step in range(2):
        random = tsl.RandomStream(seed=0, stage="own", step=step)
        view = tsl.StratifiedCameras().sample(random, 32)
        background = tsl.RandomBackground.grey(0.3, 1.0).sample(view, random)
        rendering = renderer.render(field, view, background, random)
        inputs = tsl.GuidanceInputs(view, step / 2, random, background.level)
        guidance(rendering, inputs).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert float((field.grid.detach() - before).abs().max()) > 0
    mesh = tsl.field_to_asset(field, renderer).mesh
    assert mesh.texture is not None


def test_progress_in_a_notebook_is_a_line_that_goes_away(monkeypatch):
    import io

    from rich.console import Console

    from threestudio_like.engine import events

    assert tsl.RunOptions().verbosity == "line"
    from ipykernel.kernelapp import IPKernelApp

    # A program that runs notebooks is none.
    assert tsl.RunOptions().verbosity == "line"
    monkeypatch.setattr(IPKernelApp, "initialized", lambda: True)
    assert tsl.RunOptions().verbosity == "notebook"
    assert tsl.RunOptions(quiet=True).verbosity == "quiet"
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=60)
    line = events.NotebookLine(console)
    monkeypatch.setattr(events, "NotebookLine", lambda: line)
    shown = events.Events(None, "notebook")
    shown.status("distil 1/2  3/60")
    shown.say("Memory: all at once")
    shown.close()
    text = page.getvalue()
    assert "Memory: all at once" in text
    # The cursor goes back over the status line, and it is erased.
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))
