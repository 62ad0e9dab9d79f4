"""threestudio's optimiser and schedulers as rates of this toolkit."""

from __future__ import annotations

from typing import Any

from .rules import Outcome, Scene
from .values import NoTranslation, number, plain

GROUPS = {
    "table": ("geometry.encoding", "geometry.grid", "geometry"),
    "voxels": ("geometry.grid", "geometry"),
    "mlp": ("geometry.density_network", "geometry.feature_network", "geometry"),
    "background": ("background.network", "background"),
}
"""Our rate -> threestudio's groups that hold the same parameters, the narrowest first."""
ADAM = {"Adam": 0.0, "AdamW": 0.01}
"""Optimisers that are the same here, with their default weight decay."""
Segments = list[tuple[float, float, float, float, str]]
"""(begin, end, from, to, shape): factors of the rate between two steps."""


def optimiser(scene: Scene, value: Any) -> Outcome:
    """Adam's numbers and the rates of all groups; other optimisers are Adam here."""
    args = "system.optimizer.args."
    values: dict[str, Any] = {
        "@.optimiser.betas": scene.get(f"{args}betas", [0.9, 0.999]),
        "@.optimiser.eps": number(scene.get(f"{args}eps", 1e-8)),
        "@.optimiser.weight_decay": number(scene.get(f"{args}weight_decay", ADAM.get(value, 0.0))),
    }
    factors = scheduler(scene)
    for name in GROUPS:
        values[f"@.rates.{name}"] = text_of(rate(scene, name), factors, scene.steps)
    values["@.rates.texels"] = values["@.rates.table"]
    # The distances of a grid: its cells are the unit here, and Adam's rate is that of a step.
    edge = 0.4 * number(scene.get("system.geometry.isosurface_resolution", 128)) / 2
    for name in ("sdf", "deform"):
        grid = rate(scene, "table") * (edge if name == "sdf" else 1.0)
        values[f"@.rates.{name}"] = text_of(grid, factors, scene.steps)
    notes = [] if value in ADAM else [f"{value} is Adam here: other step sizes early on"]
    frozen = [name for name in ("table", "mlp", "background") if rate(scene, name) == 0.0]
    if frozen and scene.command != "texture":
        notes.append(f"threestudio leaves {', '.join(frozen)} as it began, for no group names it")
    return Outcome(values=values, verdict=None if value in ADAM else "part", note="; ".join(notes))


def feature_rate(scene: Scene, value: Any) -> Outcome:
    """One perceptron's rate is that of both here."""
    other = scene.get("system.optimizer.params.geometry.density_network.lr", value)
    if number(value) == number(other):
        return Outcome()
    return Outcome(verdict="part", note=f"the rate of the density's perceptron, {other}, is both's")


def rate(scene: Scene, name: str) -> float:
    """The rate of one of our groups; 0 where threestudio's groups leave it out."""
    params = "system.optimizer.params."
    common = scene.get("system.optimizer.args.lr")
    grouped = any(key.startswith(params) for key in scene.document.values)
    for group in GROUPS[name]:
        own = scene.get(f"{params}{group}.lr")
        if own is not None:
            return number(own)
    if grouped:
        return 0.0
    return 1e-3 if common is None else number(common)


def scheduler(scene: Scene) -> Segments:
    """The factors of all rates. Raises NoTranslation on a scheduler that is not known."""
    group = "system.scheduler."
    name = scene.get(f"{group}name")
    if name is None:
        return []
    if scene.get(f"{group}interval", "epoch") != "step":
        # Epochs never end in threestudio: its schedulers stay where they begin.
        return []
    if name != "SequentialLR":
        args = {
            key.rpartition(".")[2]: scene.get(key)
            for key in scene.document.values
            if key.startswith(f"{group}args.")
        }
        return [_one(name, args, 0.0, float(scene.steps))]
    parts, milestones = scene.get(f"{group}schedulers"), scene.get(f"{group}milestones")
    edges = [0.0, *(number(m) for m in milestones), float(scene.steps)]
    if len(parts) != len(edges) - 1:
        raise NoTranslation("schedulers and milestones do not fit together")
    return [_one(p["name"], p["args"], a, b) for p, a, b in zip(parts, edges, edges[1:])]


def _one(
    name: str, args: dict[str, Any], begin: float, end: float
) -> tuple[float, float, float, float, str]:
    if name == "LinearLR":
        first = number(args.get("start_factor", 1 / 3))
        last, total = number(args.get("end_factor", 1.0)), number(args.get("total_iters", 5))
        if begin + total < end and last != 1.0:
            raise NoTranslation("LinearLR that ends before its part does")
        return begin, min(end, begin + total), first, last, "linear"
    if name == "ExponentialLR":
        return begin, end, 1.0, number(args["gamma"]) ** (end - begin), "exp"
    raise NoTranslation(f"{name}: LinearLR and ExponentialLR are known")


def text_of(value: float, factors: Segments, steps: int) -> str:
    """A rate with its factors as a schedule."""
    if not factors or value == 0.0:
        return plain(value)
    parts = []
    for begin, end, first, last, shape in factors:
        low, high = (plain(100.0 * at / steps) for at in (begin, end))
        head = "" if shape == "linear" else f"{shape} "
        parts.append(f"{head}{plain(value * first)}->{plain(value * last)} @ {low}..{high}%")
    return "; ".join(parts)
