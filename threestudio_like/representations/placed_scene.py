"""Objects of fixed shape and colour that are moved: ComboVerse's second stage optimises their
transforms (METHODS 4.3).

Every object has seven numbers: its size, a rotation vector of three, its position across the
reference view (two) and its depth along it (one). How position and size are measured is chosen by
`along`. With "ray", the position is a direction and the size is proportional to the depth, so that
an object that moves along its ray keeps its picture. With "axis", both are in scene units, as
published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..engine.stage import ParameterGroup
from ..kernels import EdgeTable, edge_table
from ..meshes.mesh import Asset, Mesh, Node
from ..meshes.picture import Appearance
from ..meshes.transform import Transform, quaternion
from .representation import Rates, Representation, rate_of

Along = Literal["ray", "axis"]


@dataclass
class Body:
    """An object in its own frame: meshes by name.

    A scene that holds the same `Body` several times holds instances of it.
    """

    meshes: dict[str, Mesh]

    @property
    def vertices(self) -> np.ndarray:
        """The vertices (V, 3) of all meshes."""
        return np.concatenate([m.vertices for m in self.meshes.values()])


def rotation_of(vector: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (N, 3, 3) of rotation vectors (N, 3), by the exponential map
    (Rodrigues' formula).

    Differentiable everywhere, also at zero.
    """
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    square = vector.square().sum(-1).view(-1, 1, 1)
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1 - square / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle.square())
    return torch.eye(3).to(vector) + sine * cross + cosine * (cross @ cross)


class PlacedScene(Representation):
    """Objects and their transforms, measured relative to a reference camera.

    Args:
        bodies: one an object; the same `Body` twice is an instance.
        names: of the objects.
        start: where they stand at first, in the world.
        camera_to_world: (4, 4) of the reference camera, OpenGL convention.
        along: see the module's docstring.
        upright: only the turn about the world's vertical is free.
        texels: along an edge of the textures that are looked at.
    """

    base: torch.Tensor
    eye: torch.Tensor
    frame: torch.Tensor
    points: torch.Tensor
    tri: torch.Tensor
    owner: torch.Tensor
    attributes: torch.Tensor

    def __init__(
        self,
        bodies: Sequence[Body],
        names: Sequence[str],
        start: Sequence[Transform],
        camera_to_world: torch.Tensor,
        along: Along = "ray",
        texels: int = 256,
        upright: bool = False,
    ) -> None:
        super().__init__()
        self.bodies, self.names, self.along, self.upright = (
            list(bodies),
            list(names),
            along,
            upright,
        )
        self.register_buffer(
            "base", torch.from_numpy(np.stack([t.linear for t in start]).astype(np.float32))
        )
        self.register_buffer("eye", camera_to_world[:3, 3].clone())
        self.register_buffer("frame", camera_to_world[:3, :3].clone())
        place, depth, size = self._measure(start)
        self.place, self.depth, self.size = (
            nn.Parameter(place),
            nn.Parameter(depth),
            nn.Parameter(size),
        )
        self.turn = nn.Parameter(torch.zeros(len(self.bodies), 3))
        self._gather(texels)

    def _measure(
        self, start: Sequence[Transform]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """place (N, 2), depth (N, 1) and size (N, 1) of transforms."""
        translation = torch.from_numpy(
            np.stack([t.translation for t in start]).astype(np.float32)
        ).to(self.eye)
        seen = (translation - self.eye) @ self.frame
        depth, scale = -seen[:, 2:], self.eye.new_tensor([[t.scale] for t in start])
        if self.along == "ray":
            return seen[:, :2] / depth, depth, (scale / depth).log()
        return seen[:, :2].clone(), depth.clone(), scale.log()

    @torch.no_grad()
    def set_transforms(self, where: Sequence[Transform]) -> None:
        """Set the transforms of all objects; the rotation vectors become zero."""
        place, depth, size = self._measure(where)
        self.base.copy_(torch.from_numpy(np.stack([t.linear for t in where]).astype(np.float32)))
        self.place.copy_(place)
        self.depth.copy_(depth)
        self.size.copy_(size)
        self.turn.zero_()

    def _gather(self, texels: int) -> None:
        """Join the vertices, faces and appearances of all objects for the rasteriser."""
        points, faces, owner, place = [], [], [], []
        self.looks: list[tuple[Appearance, int, int, int]] = []
        looks: dict[int, Appearance] = {}
        vertex = face = 0
        for number, body in enumerate(self.bodies):
            for mesh in body.meshes.values():
                if id(mesh) not in looks:
                    looks[id(mesh)] = Appearance(mesh, texels)
                self.looks.append((looks[id(mesh)], face, face + len(mesh.faces), vertex))
                points.append(mesh.vertices)
                faces.append(mesh.faces + vertex)
                owner.append(np.full(len(mesh.vertices), number))
                place.append(mesh.welded() + vertex)
                vertex, face = vertex + len(mesh.vertices), face + len(mesh.faces)
        self.register_buffer(
            "points", torch.from_numpy(np.concatenate(points).astype(np.float32)), persistent=False
        )
        self.register_buffer(
            "tri", torch.from_numpy(np.concatenate(faces).astype(np.int32)), persistent=False
        )
        self.register_buffer(
            "owner", torch.from_numpy(np.concatenate(owner).astype(np.int64)), persistent=False
        )
        widths = [
            0 if look.attributes is None else look.attributes.shape[1] for look, *_ in self.looks
        ]
        attributes = np.zeros((vertex, max(3, *widths)), np.float32)
        for look, _, _, first in self.looks:
            if look.attributes is not None:
                known = look.attributes.numpy()
                attributes[first : first + len(known), : known.shape[1]] = known
        self.register_buffer("attributes", torch.from_numpy(attributes), persistent=False)
        self._welded = np.concatenate(place)
        self._edges: EdgeTable | None = None

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The distance along the view (`depth`), and everything else (`others`)."""
        others = [self.place, self.size, self.turn]
        return [
            ParameterGroup(name, tensors, rate_of(rates, name), betas=(0.9, 0.99), eps=1e-8)
            for name, tensors in (("depth", [self.depth]), ("others", others))
        ]

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def image_position(self) -> nn.Parameter:
        """Position (N, 2) across the reference view; saved as the parameter `place`."""
        return self.place

    @property
    def rotation_vector(self) -> nn.Parameter:
        """Rotation vectors (N, 3) in radians, applied after the initial rotations; saved as the
        parameter `turn`."""
        return self.turn

    @property
    def face_owner(self) -> torch.Tensor:
        """Number (F,) of the object that each face belongs to."""
        return self.owner[self.tri[:, 0].long()]

    def edges(self) -> EdgeTable:
        """The edge table of all faces with welded seams, indexed by the scene's vertices."""
        if self._edges is None or self._edges.edges.device != self.tri.device:
            _, first, inverse = np.unique(self._welded, return_index=True, return_inverse=True)
            welded = torch.from_numpy(inverse.reshape(-1)).to(self.tri.device)[self.tri.long()]
            self._edges = edge_table(welded).renumbered(torch.from_numpy(first))
        return self._edges

    def rotations(self) -> torch.Tensor:
        """Rotation matrices (N, 3, 3) of the objects."""
        free = self.turn * self.turn.new_tensor([0.0, 1.0, 0.0]) if self.upright else self.turn
        return rotation_of(free) @ self.base

    def scales(self) -> torch.Tensor:
        """Uniform scales (N,) of the objects."""
        scale = self.size.exp()
        return (scale * self.depth if self.along == "ray" else scale)[:, 0]

    def translations(self) -> torch.Tensor:
        """Translations (N, 3) of the objects in the world."""
        across = self.place * self.depth if self.along == "ray" else self.place
        return self.eye + torch.cat([across, -self.depth], 1) @ self.frame.t()

    def vertices(self) -> torch.Tensor:
        """The vertices (V, 3) of all objects in the world."""
        linear = self.scales()[:, None, None] * self.rotations()
        return (linear[self.owner] @ self.points[:, :, None])[:, :, 0] + self.translations()[
            self.owner
        ]

    def place_points(self, number: int, points: torch.Tensor) -> torch.Tensor:
        """Map points (P, 3) from the frame of object `number` to the world."""
        return (
            self.scales()[number] * points @ self.rotations()[number].t()
            + self.translations()[number]
        )

    def own_points(self, number: int, points: torch.Tensor) -> torch.Tensor:
        """Map points (P, 3) from the world to the frame of object `number`."""
        return (
            (points - self.translations()[number])
            @ self.rotations()[number]
            / self.scales()[number]
        )

    @torch.no_grad()
    def transforms(self) -> list[Transform]:
        """The present transforms of all objects."""
        scale = self.scales()
        rotation, at = (v.double().cpu().numpy() for v in (self.rotations(), self.translations()))
        return [
            Transform(float(s), quaternion(r), t.copy()) for r, s, t in zip(rotation, scale, at)
        ]

    def asset(self, provenance: dict[str, object] | None = None) -> Asset:
        """The scene as an asset with one named node for each object."""
        where = zip(self.names, self.bodies, self.transforms())
        return Asset.scene({name: Node(body.meshes, t) for name, body, t in where}, provenance)

    @staticmethod
    def of(asset: Asset, camera_to_world: torch.Tensor, along: Along = "ray") -> PlacedScene:
        """Rebuild a scene from an asset.

        Each node becomes an object. Without nodes, each mesh becomes an object at its place.
        """
        if asset.nodes:
            bodies = {id(n.meshes): Body(n.meshes) for n in asset.nodes.values()}
            nodes = list(asset.nodes.values())
            return PlacedScene(
                [bodies[id(n.meshes)] for n in nodes],
                list(asset.nodes),
                [n.transform for n in nodes],
                camera_to_world=camera_to_world,
                along=along,
            )
        own = [Body({k: m}) for k, m in asset.meshes.items()]
        return PlacedScene(
            own,
            list(asset.meshes),
            [Transform() for _ in own],
            camera_to_world=camera_to_world,
            along=along,
        )
