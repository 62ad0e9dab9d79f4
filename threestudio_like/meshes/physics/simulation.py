"""An asset as a solver of rigid bodies takes it: convex pieces, masses, friction, lengths in
metres."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from ...engine.schema.bounds import Bounds, Positive
from ..mesh import Asset, Mesh, Node, join
from ..transform import Transform
from .balance import FRICTION
from .mass import MassProperties, mass_properties
from .pieces import Pieces, check_way, convex_pieces
from .settling import SettleConfig, Settled, floor_of, settle
from .solid import Pose, Solid


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """What an asset is made of and how large it is."""

    density: Positive = 600.0
    """Kilograms a cubic metre, wood; of bodies in `densities` their own."""
    densities: dict[str, float] = field(default_factory=dict)
    friction: Annotated[float, Bounds(low=0, high=10)] = FRICTION
    """Coefficient of friction of every surface."""
    pieces: str = "auto"
    """See `pieces.convex_pieces`."""
    threshold: Annotated[float, Bounds(low=0.01, high=1)] = 0.05
    """Concavity that CoACD leaves in a piece."""
    metres: Positive = 1.0
    """Metres of one unit of the asset."""
    settle: bool = False
    """Whether the bodies are first let down until their pieces stand."""


@dataclass
class RigidBody:
    """One object, lengths in metres.

    meshes: what is seen; pieces: closed convex meshes that touch; both in the body's frame. where:
    the body's place, its scale one. mass (kg); centre (3,) and inertia (3, 3) about it, in the
    body's frame. told: lines for the user.
    """

    name: str
    meshes: dict[str, Mesh]
    pieces: list[Mesh]
    where: Transform
    mass: float
    centre: np.ndarray
    inertia: np.ndarray
    told: list[str] = field(default_factory=list)


@dataclass
class Simulation:
    """Bodies on a floor, +Y up. floor: its height in metres. friction: of all. told: lines for the
    user."""

    bodies: list[RigidBody]
    floor: float
    friction: float
    told: list[str] = field(default_factory=list)

    @property
    def size(self) -> float:
        """The largest extent of the smallest body, metres."""
        return min(
            float(np.ptp(np.concatenate([m.vertices for m in b.meshes.values()]), axis=0).max())
            for b in self.bodies
        )


def objects_of(asset: Asset) -> dict[str, Node]:
    """The objects of an asset: its nodes, or where it has none each part, in place."""
    if asset.nodes:
        return dict(asset.nodes)
    groups: dict[str, dict[str, Mesh]] = {}
    for name, mesh in asset.meshes.items():
        groups.setdefault(mesh.part or name, {})[name] = mesh
    return {name: Node(meshes, Transform()) for name, meshes in groups.items()}


def simulated(asset: Asset, config: SimulationConfig | None = None) -> Simulation:
    """The rigid bodies of an asset.

    Raises:
        ConfigError: a way to make pieces that there is not.
    """
    config = config or SimulationConfig()
    check_way(config.pieces)
    known: dict[int, Pieces] = {}
    bodies = []
    for name, node in objects_of(asset).items():
        if id(node.meshes) not in known:
            known[id(node.meshes)] = convex_pieces(
                list(node.meshes.values()), config.pieces, config.threshold
            )
        bodies.append(rigid_body(name, node, known[id(node.meshes)], config))
    return _on_a_floor(bodies, config)


def rigid_body(name: str, node: Node, pieces: Pieces, config: SimulationConfig) -> RigidBody:
    """An object as a rigid body.

    Args:
        pieces: of its meshes, in their frame and unit.
    """
    scale = node.transform.scale * config.metres
    own = {k: _sized(m, scale) for k, m in node.meshes.items()}
    mass = mass_properties(list(own.values()))
    density = config.densities.get(name, config.density)
    return RigidBody(
        name,
        own,
        [_sized(p, scale) for p in pieces.pieces],
        Transform(1.0, node.transform.rotation, node.transform.translation * config.metres),
        mass=mass.volume * density,
        centre=mass.centre,
        inertia=mass.inertia * density,
        told=[*pieces.told, *([mass.told] if mass.told else [])],
    )


def _sized(mesh: Mesh, scale: float) -> Mesh:
    return replace(mesh, vertices=(mesh.vertices.astype(np.float64) * scale).astype(np.float32))


def _on_a_floor(bodies: list[RigidBody], config: SimulationConfig) -> Simulation:
    """The bodies and the floor below them; what will move once they are let go is told."""
    solids = [solid_of(body) for body in bodies]
    poses = [Pose.of(b.where) for b in bodies]
    floor = floor_of(solids, poses)
    found = settle(solids, poses, floor, SettleConfig(friction=config.friction))
    told = [f"{b.name}: {line}" for b in bodies for line in b.told]
    if config.settle:
        for body, pose in zip(bodies, found.poses):
            body.where = pose.transform()
    told += moving_lines(found, [b.name for b in bodies], settled=config.settle) + doubts_of(found)
    return Simulation(bodies, floor, config.friction, told)


def solid_of(body: RigidBody) -> Solid:
    """What of a body touches, its pieces, with the mass of what falls, the object."""
    solid = Solid.of(body.name, [join(body.pieces)])
    mass = MassProperties(
        mass_properties(list(body.meshes.values())).volume, body.centre, body.inertia, closed=True
    )
    return replace(solid, mass=mass, inside=True)


def moving_lines(found: Settled, names: list[str], settled: bool) -> list[str]:
    """What a user should hear of what moved, or will move, until everything stands."""
    told = []
    far = int(np.argmax(found.moved))
    if found.moved[far] > 0.005 or found.tilted.max() > 1:
        most = f"{names[far]} by {found.moved[far]:.1%} of its size"
        turned = int(np.argmax(found.tilted))
        if found.tilted[turned] > 1:
            most += f", {names[turned]} by {found.tilted[turned]:.0f} degrees"
        told.append(
            f"settled until everything stands: the farthest moved {most}"
            if settled
            else f"what is here does not stand as it is: it will move, {most} (--settle lets it "
            "down first)"
        )
    for name, share in found.shifted.items():
        if settled:
            told.append(f"{name} was moved by {share:.0%} of its size to the middle of its support")
    return told


def doubts_of(found: Settled) -> list[str]:
    """What is wrong with a settled scene: what still penetrates, and what falls over."""
    told = []
    if found.penetration > 0.002:
        told.append(f"objects still penetrate each other by {found.penetration:.1%} of their size")
    if found.falls:
        told.append(
            f"{', '.join(found.falls)}: falls over when let go, its centre of mass is not over "
            "what carries it"
        )
    return told
