"""`export` for solvers of rigid bodies: `--to mjcf`, and USD with `--physics`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from ...engine.errors import ConfigError, did_you_mean
from ...engine.text import printable
from ...meshes.mesh import Asset, Node
from ...meshes.physics.pieces import check_way
from ...meshes.physics.simulation import Simulation, SimulationConfig, objects_of, simulated
from ...systems.image_to_3d.known import read_length
from ..export import Export

ALWAYS = ("mjcf",)
"""Formats that hold nothing but bodies."""
WITH_PHYSICS = ("usd", "usda", "usdc", "usdz")
"""Formats that hold bodies with --physics."""


def physical(formats: Iterable[str], options: Export) -> list[str]:
    """Those of the formats that are to hold rigid bodies. Raises ConfigError where what is said of
    bodies concerns none of them."""
    asked = [k for k in formats if k in ALWAYS or (options.physics and k in WITH_PHYSICS)]
    said = {
        "--physics": options.physics,
        "--density": options.density,
        "--friction": options.friction != SimulationConfig.friction,
        "--pieces": options.pieces != SimulationConfig.pieces,
        "--extent": options.extent,
        "--settle": options.settle,
    }
    given = [name for name, value in said.items() if value]
    if given and not asked:
        raise ConfigError(
            "is about rigid bodies, and no format that is written here holds them",
            ", ".join(given),
            "Add --to mjcf, or --to usdz --physics",
        )
    if asked:
        check_way(options.pieces)
        densities(options.density, None)
        if not 0 <= options.friction <= 10:
            raise ConfigError(
                f"must be from 0 to 10, got {options.friction:g}", "--friction", "Wood has 0.7"
            )
        if options.extent:
            read_length(options.extent, "--extent")
    return asked


def with_bodies(asset: Asset, options: Export) -> Asset:
    """The asset as rigid bodies, in metres; what the user should hear of them is printed. Raises
    ConfigError."""
    names = objects_of(asset)
    common, own = densities(options.density, names)
    points = np.concatenate([m.vertices for m in asset.meshes.values()])
    units = float(np.ptp(points, axis=0).max())
    length = read_length(options.extent, "--extent") if options.extent else units
    config = SimulationConfig(
        density=common,
        densities=own,
        friction=options.friction,
        pieces=options.pieces,
        metres=length / units,
        settle=options.settle,
    )
    simulation = simulated(asset, config)
    lines = [*simulation.told, _summary(simulation, length, known=bool(options.extent))]
    for line in lines:
        print(printable(f"Note: {line}."), file=sys.stderr)
    nodes = {b.name: Node(b.meshes, b.where) for b in simulation.bodies}
    made = Asset.scene(nodes, asset.provenance)
    return replace(made, simulation=simulation)


def _summary(simulation: Simulation, length: float, known: bool) -> str:
    bodies = simulation.bodies
    mass = sum(b.mass for b in bodies)
    pieces = sum(len(b.pieces) for b in bodies)
    said = (
        f"{len(bodies)} rigid {'body' if len(bodies) == 1 else 'bodies'} of {pieces} convex "
        f"{'piece' if pieces == 1 else 'pieces'}, {mass:.3g} kg, friction {simulation.friction:g}, "
        f"{length:.3g} m long"
    )
    return said if known else f"{said}: one unit counts as a metre (--extent 40cm says otherwise)"


def densities(
    given: tuple[str, ...], names: Collection[str] | None
) -> tuple[float, dict[str, float]]:
    """The common density and those of objects, kg / m³, of "600" and "red_ball=90".

    Args:
        names: of the objects; None where they are not known yet.

    Raises:
        ConfigError: no number, not above zero, no such object.
    """
    common, own = SimulationConfig().density, {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            raise ConfigError(
                f'"{text}" is no density', "--density", "Write 600 or red_ball=90, in kg / m³"
            )
        if not name:
            common = value
            continue
        if names is not None and name not in names:
            raise ConfigError(
                f'there is no object "{name}"', "--density", did_you_mean(name, names)
            )
        own[name] = value
    return common, own
