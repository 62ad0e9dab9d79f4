"""Rigid bodies in USD, by the schemas of UsdPhysics: bodies with mass, convex pieces that collide
and are not rendered, one material of friction, a floor, gravity.

Reference: "Rigid Body Physics in Universal Scene Description", OpenUSD's documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...mesh import Mesh

if TYPE_CHECKING:
    from ...physics.simulation import RigidBody, Simulation

FLOOR_HALF = 50.0
"""Half the edge of the floor that is drawn where a viewer draws guides, metres; the plane itself
has no border."""


class PhysicsWriter:
    """Adds what a solver wants to a stage whose default prim is `root`."""

    def __init__(self, stage: Any, root: str, simulation: Simulation) -> None:
        from pxr import Gf, UsdGeom, UsdPhysics, UsdShade

        self.stage, self.root = stage, root
        UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
        scene = UsdPhysics.Scene.Define(stage, f"{root}/Physics")
        scene.CreateGravityDirectionAttr(Gf.Vec3f(0, -1, 0))
        scene.CreateGravityMagnitudeAttr(9.81)
        stage.DefinePrim(f"{root}/Materials", "Scope")
        self.material = UsdShade.Material.Define(stage, f"{root}/Materials/friction")
        friction = UsdPhysics.MaterialAPI.Apply(self.material.GetPrim())
        friction.CreateStaticFrictionAttr(simulation.friction)
        friction.CreateDynamicFrictionAttr(simulation.friction)
        friction.CreateRestitutionAttr(0.0)
        floor = UsdGeom.Plane.Define(stage, f"{root}/Floor")
        floor.CreateAxisAttr(UsdGeom.Tokens.y)
        floor.CreateWidthAttr(2 * FLOOR_HALF)
        floor.CreateLengthAttr(2 * FLOOR_HALF)
        floor.CreatePurposeAttr(UsdGeom.Tokens.guide)
        floor.CreateExtentAttr(UsdGeom.Boundable.ComputeExtentFromPlugins(floor, 0))
        floor.AddTranslateOp().Set(Gf.Vec3d(0, simulation.floor, 0))
        self._collides(floor.GetPrim())

    def add(self, path: str, body: RigidBody) -> None:
        """Make the Xform at a path a rigid body."""
        from pxr import Gf, UsdGeom, UsdPhysics

        prim = self.stage.GetPrimAtPath(path)
        UsdPhysics.RigidBodyAPI.Apply(prim)
        mass = UsdPhysics.MassAPI.Apply(prim)
        mass.CreateMassAttr(body.mass)
        mass.CreateCenterOfMassAttr(Gf.Vec3f(*(float(x) for x in body.centre)))
        moments, axes = principal(body.inertia)
        mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*(float(x) for x in moments)))
        x, y, z, w = (float(v) for v in axes)
        mass.CreatePrincipalAxesAttr(Gf.Quatf(w, x, y, z))
        group = UsdGeom.Scope.Define(self.stage, f"{path}/Collision")
        group.CreatePurposeAttr(UsdGeom.Tokens.guide)
        for number, piece in enumerate(body.pieces, 1):
            self._piece(f"{path}/Collision/piece_{number}", piece)

    def _piece(self, path: str, piece: Mesh) -> None:
        from pxr import UsdGeom, UsdPhysics, Vt

        mesh = UsdGeom.Mesh.Define(self.stage, path)
        points = np.ascontiguousarray(piece.vertices, np.float32)
        mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
        counts = np.full(len(piece.faces), 3, np.int32)
        mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(counts))
        corners = np.ascontiguousarray(piece.faces.reshape(-1), np.int32)
        mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(corners))
        mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        extent = np.ascontiguousarray(np.stack([points.min(0), points.max(0)]))
        mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))
        self._collides(mesh.GetPrim())
        shape = UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim())
        shape.CreateApproximationAttr(UsdPhysics.Tokens.convexHull)

    def _collides(self, prim: Any) -> None:
        from pxr import UsdPhysics, UsdShade

        UsdPhysics.CollisionAPI.Apply(prim)
        UsdShade.MaterialBindingAPI.Apply(prim).Bind(
            self.material, UsdShade.Tokens.weakerThanDescendants, "physics"
        )


def principal(inertia: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal moments (3,) of an inertia (3, 3) and the quaternion x, y, z, w of their axes."""
    from ...transform import quaternion

    moments, axes = np.linalg.eigh(inertia)
    if np.linalg.det(axes) < 0:
        axes = axes * [1, 1, -1]
    return moments, quaternion(axes)
