"""Writes an asset as MJCF (MuJoCo's XML): a free body an object on a floor, what touches as convex
pieces inside the XML, what is seen as OBJ and PNG beside it. +Z is up there, lengths are metres.

Reference: MuJoCo's documentation, "XML Reference".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

import numpy as np

from ....engine.text import line_name, slug
from ...features import EVERYTHING
from ...mesh import Asset, Mesh, unique_name
from ...transform import multiply
from ..formats import Format
from ..images import encode_png

if TYPE_CHECKING:
    from ...physics.simulation import RigidBody, Simulation

UPRIGHT = np.array([math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)])
"""The quaternion x, y, z, w that turns +Y up to +Z up."""


def write_mjcf(asset: Asset, name: str) -> dict[str, bytes]:
    """The XML of an asset and the files beside it."""
    # Here, because the table of formats is asked by tools that need no tensors.
    from ...physics.simulation import simulated

    simulation = asset.simulation or simulated(asset)
    root = Xml.Element("mujoco", model=line_name(Path(name).stem))
    _solver(root, simulation)
    assets, world = Xml.SubElement(root, "asset"), Xml.SubElement(root, "worldbody")
    Xml.SubElement(world, "light", pos="0 0 4", dir="0 0 -1", directional="true")
    Xml.SubElement(
        world,
        "geom",
        {
            "name": "floor",
            "type": "plane",
            "size": "0 0 0.05",
            "pos": _row([0, 0, simulation.floor]),
            "rgba": "0.8 0.8 0.8 1",
        },
    )
    writer = _Writer(Path(name).stem, assets, world)
    for body in simulation.bodies:
        writer.add(body)
    Xml.indent(root)
    text = Xml.tostring(root, encoding="unicode")
    return {name: f"{text}\n".encode()} | writer.files


def _solver(root: Xml.Element, simulation: Simulation) -> None:
    """The solver's settings: time goes with the root of the lengths, and contacts give way by as
    much as the smallest body is large, so that small scenes stand as well as large ones."""
    size = max(simulation.size, 1e-4)
    step = min(0.002, max(1e-5, 0.002 * math.sqrt(size)))
    Xml.SubElement(root, "compiler", angle="radian", autolimits="true")
    option = Xml.SubElement(
        root,
        "option",
        timestep=f"{step:.6g}",
        integrator="implicitfast",
        cone="elliptic",
        impratio="10",
        gravity="0 0 -9.81",
    )
    Xml.SubElement(option, "flag", multiccd="enable")
    touch = {
        "solref": f"{2.5 * step:.6g} 1",
        "solimp": f"0.95 0.99 {0.001 * size:.6g}",
        "friction": f"{simulation.friction:g} {0.005 * size:.6g} {0.0005 * size:.6g}",
        "condim": "6",
        "margin": f"{0.0001 * size:.6g}",
    }
    default = Xml.SubElement(root, "default")
    Xml.SubElement(default, "geom", touch)
    seen = Xml.SubElement(default, "default", {"class": "visual"})
    Xml.SubElement(seen, "geom", contype="0", conaffinity="0", group="2", mass="0", type="mesh")
    touched = Xml.SubElement(default, "default", {"class": "collision"})
    Xml.SubElement(touched, "geom", {"group": "3", "type": "mesh", **touch})


class _Writer:
    """Fills the assets and the world of a scene; files: those beside it."""

    def __init__(self, stem: str, assets: Xml.Element, world: Xml.Element) -> None:
        self.stem, self.assets, self.world = stem, assets, world
        self.files: dict[str, bytes] = {}
        self.names: set[str] = set()
        self.bodies: set[str] = {"world", "floor"}

    def add(self, body: RigidBody) -> None:
        """One body with its pieces and what is seen of it."""
        name = unique_name(line_name(body.name), self.bodies)
        self.bodies.add(name)
        at = body.where.translation
        turn = multiply(UPRIGHT, body.where.rotation)
        element = Xml.SubElement(
            self.world,
            "body",
            name=name,
            pos=_row([at[0], -at[2], at[1]]),
            quat=_row([turn[3], *turn[:3]]),
        )
        Xml.SubElement(element, "freejoint", name=f"{name} joint")
        i = body.inertia
        Xml.SubElement(
            element,
            "inertial",
            pos=_row(body.centre),
            mass=f"{body.mass:.9g}",
            fullinertia=_row([i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]]),
        )
        for key, mesh in body.meshes.items():
            self._seen(element, body, key, mesh)
        label = self._free(slug(body.name, "_", 40) or "object")
        for number, piece in enumerate(body.pieces, 1):
            inner = f"{label} piece {number}"
            Xml.SubElement(
                self.assets,
                "mesh",
                {
                    "name": inner,
                    "vertex": _row(piece.vertices.astype(np.float64).reshape(-1)),
                    # The whole is heavier than nothing in any unit; its mass is the body's own.
                    "inertia": "shell",
                },
            )
            Xml.SubElement(element, "geom", {"class": "collision", "mesh": inner, "mass": "0"})

    def _seen(self, element: Xml.Element, body: RigidBody, key: str, mesh: Mesh) -> None:
        several = len(body.meshes) > 1
        label = self._free(
            slug(f"{body.name} {key}" if several else body.name, "_", 50) or "object"
        )
        self.files[f"{self.stem}.{label}.obj"] = obj_bytes(mesh)
        Xml.SubElement(
            self.assets,
            "mesh",
            {"name": label, "file": f"{self.stem}.{label}.obj", "inertia": "shell"},
        )
        look = {"name": label, "rgba": _row(_colour(mesh))}
        if mesh.material is not None:
            look["metallic"], look["roughness"] = (
                f"{mesh.material.metallic:g}",
                f"{mesh.material.roughness:g}",
            )
        if mesh.texture is not None and mesh.uv is not None:
            picture = f"{self.stem}.{label}.png"
            self.files[picture] = encode_png(np.ascontiguousarray(mesh.texture[..., :3]))
            Xml.SubElement(self.assets, "texture", name=label, type="2d", file=picture)
            look["texture"] = label
        Xml.SubElement(self.assets, "material", look)
        Xml.SubElement(element, "geom", {"class": "visual", "mesh": label, "material": label})

    def _free(self, name: str) -> str:
        label = unique_name(name, self.names)
        self.names.add(label)
        return label


def obj_bytes(mesh: Mesh) -> bytes:
    """The geometry of a mesh as OBJ, with coordinates of its texture and normals where it has
    them."""
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    corner = "{0}"
    if mesh.uv is not None:
        lines += [f"vt {u:.9g} {v:.9g}" for u, v in mesh.uv.tolist()]
    if mesh.normals is not None:
        lines += [f"vn {x:.6g} {y:.6g} {z:.6g}" for x, y, z in mesh.normals.tolist()]
        corner = "{0}/{0}/{0}" if mesh.uv is not None else "{0}//{0}"
    elif mesh.uv is not None:
        corner = "{0}/{0}"
    for face in (mesh.faces + 1).tolist():
        lines.append("f " + " ".join(corner.format(k) for k in face))
    return ("\n".join(lines) + "\n").encode()


def _colour(mesh: Mesh) -> list[float]:
    """RGBA of a mesh in [0, 1]: its material's, times the mean of vertex colours, which MJCF has
    none of."""
    colour = np.array(mesh.material.colour if mesh.material is not None else (1, 1, 1, 1), float)
    if mesh.colours is not None:
        mean = mesh.colours.mean(0)
        colour[: len(mean)] *= mean
    return colour.clip(0, 1).tolist()


def _row(values: object) -> str:
    return " ".join(f"{float(v):.9g}" for v in values)  # type: ignore[attr-defined]


MJCF = Format(
    name="mjcf",
    summary="rigid bodies for the MuJoCo solver, with .obj and .png",
    suffixes=(".xml", ".mjcf"),
    write=write_mjcf,
    keeps=(
        EVERYTHING & {"parts", "placed objects", "textures", "materials", "texture coordinates"}
        | {"changed normals"}
    ),
)
