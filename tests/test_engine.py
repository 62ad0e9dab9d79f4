"""Schedules, random streams, checkpoints, the loop, the watchdog."""

from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from threestudio_like.engine import loop as loop_module
from threestudio_like.engine.checkpoint import load_checkpoint, save_checkpoint
from threestudio_like.engine.errors import (
    CheckpointError,
    CollapseError,
    ConfigError,
    OutputError,
    did_you_mean,
)
from threestudio_like.engine.events import Events, read_events
from threestudio_like.engine.loop import (
    Interrupted,
    Loop,
    LoopSettings,
    ParameterGroup,
    Stage,
    StagePlan,
)
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.schedule import Schedule
from threestudio_like.engine.watchdog import Watchdog


@pytest.mark.parametrize(
    ("text", "at", "value"),
    [
        ("0.98", 0.7, 0.98),
        ("0.98->0.5", 0.5, 0.74),
        ("cos 1->0", 0.5, 0.5),
        ("cos 1->0 @ 0..60%", 0.6, 0.0),
        ("1->3 @ 50..100%", 0.25, 1.0),
        ("1->3 @ 50..100%", 0.75, 2.0),
        ("exp 1->0.01", 0.5, 0.1),
        ("step 0->2 @ 30..31%", 0.3, 2.0),
        ("step 0->2 @ 30..31%", 0.29, 0.0),
        ("1e-3 -> 1e-4", 1.0, 1e-4),
        (0.25, 0.1, 0.25),
        ("onecycle 5e-5", 0.0, 2e-6),
        ("onecycle 5e-5", 0.02, 5e-5),
        ("onecycle 5e-5", 0.51, 2.5e-5),
        ("onecycle 5e-5", 1.0, 0.0),
    ],
)
def test_schedules(text, at, value):
    assert Schedule.parse(text)(at) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("text", ["", "fast", "1->", "1->2 @ 60..20%", "exp 1->0", "cos"])
def test_bad_schedules_show_the_grammar(text):
    with pytest.raises(ConfigError):
        Schedule.parse(text, "lr")


def test_random_numbers_are_keyed_by_seed_stage_step_and_purpose():
    a = RandomStream(0, "distil", 7)
    assert torch.equal(a.normal("noise", (5,)), a.normal("noise", (5,)))
    torch.rand(100)
    assert torch.equal(a.normal("noise", (5,)), RandomStream(0, "distil", 7).normal("noise", (5,)))
    others = [
        RandomStream(1, "distil", 7),
        RandomStream(0, "refine", 7),
        RandomStream(0, "distil", 8),
    ]
    assert not any(torch.equal(a.normal("noise", (5,)), o.normal("noise", (5,))) for o in others)
    assert not torch.equal(a.normal("noise", (5,)), a.normal("camera", (5,)))
    x = torch.cat([RandomStream(0, "s", i).normal("n", (50,)) for i in range(200)])
    assert abs(float(x.mean())) < 0.05
    assert abs(float(x.std()) - 1) < 0.05


def test_checkpoints_round_trip_and_damage_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a/b": torch.arange(5.0)}, {"step": 3})
    tensors, facts = load_checkpoint(path)
    assert facts == {"step": 3}
    assert tensors["a/b"].tolist() == [0, 1, 2, 3, 4]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none")
    assert not list(tmp_path.glob("*.part"))


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    import os

    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_checkpoint(path, {"a": torch.ones(1)}, {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 1}
    assert not list(tmp_path.glob("*.part"))


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))


def line_plan(name="fit", steps=40, log=None):
    def build(done):
        module = Line()
        # The second one is used in some steps alone, and moves on by its momentum in the others.
        module.now_and_then = nn.Parameter(torch.zeros(4))

        def loss(step):
            if log is not None:
                log.append(step.index)
            target = step.random.normal("target", (4,))
            used = [module.w, module.now_and_then][: 2 if step.index % 3 == 1 else 1]
            return {"square": sum((w - target).square().sum() for w in used)}

        return Stage(
            name,
            steps,
            {"line": module},
            [ParameterGroup("w", [module.w, module.now_and_then], "0.1->0.01")],
            loss,
            clip_norm=1.0,
        )

    return StagePlan(name, build)


def run(folder, plans, **settings):
    return Loop(folder, Events(None, "quiet"), LoopSettings(**settings)).run(plans)


def test_an_interrupted_loop_resumes_to_the_same_bytes(tmp_path):
    """METHODS 1.16: resume reproduces the next losses; here the parameters, bit for bit, over two
    stages."""
    plans = [line_plan("one"), line_plan("two")]
    whole = run(None, plans, seed=3)

    class Stop(Exception):
        pass

    for stop_at in (1, 17, 40, 41, 63):
        folder = tmp_path / str(stop_at)
        count = 0

        def bomb(plan, stop_at=stop_at):
            def build(done):
                stage = plan.build(done)
                inner = stage.loss

                def loss(step):
                    nonlocal count
                    count += 1
                    if count > stop_at:
                        raise Stop
                    return inner(step)

                stage.loss = loss
                return stage

            return StagePlan(plan.name, build)

        with pytest.raises(Stop):
            run(folder, [bomb(p) for p in plans], seed=3, checkpoint_steps=5)
        resume = (folder / "checkpoint.safetensors").is_file()
        again = run(folder, plans, seed=3, checkpoint_steps=7, resume=resume)
        for name in ("one", "two"):
            first, second = (r[name].modules["line"].state_dict() for r in (whole, again))
            assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_log_and_preview_frequency_change_nothing(tmp_path):
    results = []
    for number, (log, preview) in enumerate([(1, 0.0), (13, 100.0)]):
        folder = tmp_path / str(number)
        plan = line_plan()
        results.append(
            run(folder, [plan], log_every=log, preview_seconds=preview)["fit"].modules["line"].w
        )
    assert torch.equal(*results)


def test_resuming_another_run_is_refused(tmp_path):
    run(tmp_path, [line_plan()], identity={"prompt": "a"})
    with pytest.raises(CheckpointError, match="another run"):
        run(tmp_path, [line_plan()], identity={"prompt": "b"}, resume=True)


def test_events_are_lines_of_json_and_a_cut_line_is_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    Loop(None, Events(path, "quiet"), LoopSettings(log_every=10)).run([line_plan()])
    kinds = [e["event"] for e in read_events(path)]
    assert kinds[0] == "stage"
    assert kinds.count("step") == 4
    assert kinds[-1] == "stage-end"
    with open(path, "a") as file:
        file.write('{"t": 1, "eve')
    assert len(read_events(path)) == len(kinds)


def test_the_time_limit_ends_a_stage(tmp_path, monkeypatch):
    """On a clock of the test's own, which a step moves by ten seconds."""
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    module = Line()

    def loss(step):
        clock.now += 10.0
        return {"x": module.w.square().sum()}

    plan = StagePlan(
        "slow",
        lambda done: Stage("slow", 100000, {"m": module}, [ParameterGroup("w", [module.w])], loss),
    )
    path = tmp_path / "events.jsonl"
    Loop(tmp_path, Events(path, "quiet"), LoopSettings(minutes=5)).run([plan])
    events = read_events(path)
    (ended,) = (event for event in events if event["event"] == "minutes")
    # What passes on the real clock before the first step is less than a step.
    assert 29 <= ended["step"] <= 31
    assert [event["step"] for event in events if event["event"] == "stage-end"] == [ended["step"]]


def test_ctrl_c_saves_and_stops(tmp_path):
    import os
    import signal

    module = Line()

    def loss(step):
        if step.index == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return {"x": (module.w - 1).square().sum()}

    plan = StagePlan(
        "s", lambda done: Stage("s", 50, {"m": module}, [ParameterGroup("w", [module.w])], loss)
    )
    with pytest.raises(Interrupted):
        run(tmp_path, [plan])
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")[1]["step"] == 6


def faulty_plan(fault, at, figures, recoverable=True):
    """A stage that goes wrong at a step, until `recover` mends it."""
    module, state = Line(), {"mended": False}

    def loss(step):
        bad = step.index >= at and not state["mended"]
        if bad and fault == "nan":
            return {"x": (module.w * float("nan")).sum()}
        state["bad"] = bad
        return {"x": (module.w - 1).square().sum()}

    def recover(verdict):
        state["mended"] = recoverable
        state["verdict"] = verdict
        return "turned the knob"

    healthy = {"opacity": 0.3, "half": 0.05, "border": 0.0}
    stage = Stage(
        "s",
        50,
        {"m": module},
        [ParameterGroup("w", [module.w])],
        loss,
        recover=recover,
        watch=lambda: figures if state.get("bad") else healthy,
    )
    return StagePlan("s", lambda done: stage), state


FAULTS = [
    ("nan", {}),
    ("empty", {"opacity": 0.0001, "half": 0.0, "border": 0.0}),
    ("fog", {"opacity": 0.5, "half": 0.95, "border": 0.1}),
    ("box", {"opacity": 0.9, "half": 0.1, "border": 0.95}),
]


@pytest.mark.parametrize(("fault", "figures"), FAULTS)
def test_the_watchdog_recovers_once_and_says_so(tmp_path, fault, figures):
    plan, state = faulty_plan(fault, 27, figures)
    path = tmp_path / "events.jsonl"
    Loop(tmp_path, Events(path, "quiet"), LoopSettings(), Watchdog()).run([plan])
    actions = [e for e in read_events(path) if e["event"] == "watchdog"]
    assert [a["verdict"] for a in actions] == [fault]
    assert actions[0]["action"] == "turned the knob"
    assert state["verdict"] == fault


@pytest.mark.parametrize(("fault", "figures"), FAULTS)
def test_the_watchdog_stops_with_a_verdict_when_recovery_does_not_help(tmp_path, fault, figures):
    plan, _ = faulty_plan(fault, 27, figures, recoverable=False)
    with pytest.raises(CollapseError) as caught:
        Loop(tmp_path, Events(None, "quiet"), LoopSettings(), Watchdog()).run([plan])
    assert 'stage "s"' in caught.value.line()
    assert caught.value.remedy


def test_one_bad_gradient_of_several_is_noticed():
    good, bad = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    good.grad, bad.grad = torch.ones(2), torch.tensor([1.0, math.inf])
    watchdog = Watchdog()
    assert watchdog.nan(torch.tensor(1.0), [good]) is None
    assert watchdog.nan(torch.tensor(1.0), [good, bad]).saw == "a gradient is not a number"
    assert watchdog.nan(torch.tensor(math.nan), [good]).saw == "the loss is not a number"


def test_the_watchdog_lets_short_trials_be(tmp_path):
    plan, state = faulty_plan("fog", 3, FAULTS[2][1])
    stage = plan.build({})
    stage.steps = 12
    Loop(tmp_path, Events(None, "quiet"), LoopSettings(), Watchdog()).run(
        [StagePlan("s", lambda done: stage)]
    )
    assert "verdict" not in state


def test_did_you_mean():
    assert (
        did_you_mean("latent-nref", ["latent-nerf", "dreamfusion"]) == 'Did you mean "latent-nerf"?'
    )
    assert did_you_mean("zzz", ["a", "b"]).startswith("Known: a, b")


def test_identity_survives_json():
    assert json.loads(json.dumps(LoopSettings(identity={"a": (1, 2)}).identity)) == {"a": [1, 2]}


def test_sums_of_gathers_are_added_in_one_order(tmp_path):
    """Under load torch's threads add gradients of a gather in the order in which they come."""
    index = torch.randint(0, 20000, (1 << 16,), generator=torch.Generator().manual_seed(0))
    weights = torch.randn(3, 1 << 16, generator=torch.Generator().manual_seed(1))
    seen = []

    class Gather(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.values = torch.nn.Parameter(torch.zeros(3, 20000))

    module = Gather()

    def loss(step):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return {"sum": (module.values[:, index] * weights).sum()}

    group = ParameterGroup("values", [module.values], "0.1")
    stage = Stage("gather", 3, {"gather": module}, [group], loss)
    Loop(tmp_path, Events(), LoopSettings(seed=0)).run([StagePlan("gather", lambda done: stage)])
    assert seen == [True] * 3
    assert not torch.are_deterministic_algorithms_enabled()
