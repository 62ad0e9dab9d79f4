"""Surfaces against Embree, trimesh, Manifold and SciPy, for benchmarks/agreement.py."""

from __future__ import annotations

import math

import manifold3d
import numpy as np
import torch
import trimesh
from scipy.spatial import ConvexHull
from trimesh.ray.ray_pyembree import RayMeshIntersector

from threestudio_like import kernels
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.extraction import isosurface
from threestudio_like.meshes.surface.fidelity import curved_volume, settle
from threestudio_like.renderers import RingCameras

Rows = list[tuple[str, int, float, str, float]]


def bodies(count: int) -> list[trimesh.Trimesh]:
    """Closed meshes within the unit sphere: bumpy balls, tori and boxes, each turned."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        kind = number % 3
        if kind == 0:
            body = trimesh.creation.icosphere(3, 0.6)
            body.vertices *= 1 + 0.3 * np.sin(body.vertices @ rng.normal(0, 4, (3, 1)))
        elif kind == 1:
            body = trimesh.creation.torus(0.5, rng.uniform(0.05, 0.25), 40, 24)
        else:
            body = trimesh.creation.box(rng.uniform(0.05, 1.0, 3))
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn[:, 0] *= np.linalg.det(turn)
        body.vertices = body.vertices @ turn
        made.append(body)
    return made


def ours(body: trimesh.Trimesh) -> Mesh:
    """The same mesh as the toolkit holds it."""
    return Mesh(
        np.ascontiguousarray(body.vertices, np.float32),
        np.ascontiguousarray(body.faces, np.int32),
    )


def rasterise(times: int) -> Rows:
    """Which pixels are covered, and how far away the surface is there, against rays."""
    cameras = RingCameras(count=3, elevation=20.0).all(128)
    origins, directions = (part.double().numpy() for part in cameras.rays())
    pixels = differing = hits = 0
    farthest = 0.0
    for body in bodies(6 * times):
        mesh = ours(body)
        vertices = torch.from_numpy(mesh.vertices)
        clip = torch.cat([vertices, torch.ones(len(vertices), 1)], 1)
        tri = torch.from_numpy(mesh.faces)
        clip = clip @ cameras.view_projection().transpose(1, 2)
        seen = kernels.rasterize(clip, tri, 128, 128)
        place = kernels.interpolate(vertices, tri, seen).double().numpy()
        covered = seen[..., 3].numpy() > 0
        rays = RayMeshIntersector(body)
        for k in range(len(cameras)):
            begin, way = origins[k].reshape(-1, 3), directions[k].reshape(-1, 3)
            at, ray, _ = rays.intersects_location(begin, way, multiple_hits=False)
            found = np.zeros(len(way), bool)
            found[ray] = True
            mine = covered[k].ravel()
            differing += int((mine != found).sum())
            pixels += len(way)
            both = mine[ray]
            away = np.linalg.norm(place[k].reshape(-1, 3)[ray] - begin[ray], axis=1)
            theirs = np.linalg.norm(at - begin[ray], axis=1)
            # Where a ray grazes two layers, the two may see different ones: judged by rank.
            if both.any():
                error = np.sort(np.abs(away - theirs)[both])
                farthest = max(farthest, float(error[int(0.999 * (len(error) - 1))]))
                hits += int(both.sum())
    return [
        ("rasteriser, pixels covered otherwise", pixels, 1e6 * differing / pixels, " ppm", 200),
        ("rasteriser, distance, 99.9 % of a picture", hits, farthest, "", 1e-4),
    ]


def outline(times: int) -> Rows:
    """The antialiased area of a ball and its derivative by the ball's size, against its hull."""
    area_error = growth_error = 0.0
    count, size = 8 * times, 96
    for number in range(count):
        rng = np.random.default_rng(number)
        points = trimesh.creation.icosphere(3, rng.uniform(0.2, 0.8)).vertices
        faces = trimesh.creation.icosphere(3).faces
        points = points @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        scale = torch.ones((), requires_grad=True)
        vertices = torch.tensor(points, dtype=torch.float32) * scale
        clip = torch.cat([vertices[:, :2], -vertices[:, 2:] / 2, torch.ones(len(points), 1)], 1)
        tri = torch.tensor(np.asarray(faces), dtype=torch.int32)
        pixels = kernels.rasterize(clip, tri, size, size)
        covered = (pixels[..., 3:] > 0).float()
        area = kernels.antialias(covered, pixels, clip, kernels.edge_table(tri)).sum()
        area.backward()
        hull = ConvexHull(points[:, :2]).volume * size * size / 4
        area_error = max(area_error, abs(float(area.detach()) / hull - 1))
        growth_error = max(growth_error, abs(float(scale.grad) / (2 * hull) - 1))
    return [
        ("antialiased area of a ball, relative", count, area_error, "", 0.002),
        ("its derivative by the size, relative", count, growth_error, "", 0.03),
    ]


def nearest_point(times: int) -> Rows:
    """Distances to surfaces, and that the point found lies on the surface at that distance."""
    count, largest = 0, 0.0
    for body in bodies(6 * times):
        at = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
        tree = kernels.surface_tree(
            torch.from_numpy(ours(body).vertices), torch.from_numpy(ours(body).faces)
        )
        distance = kernels.nearest(tree, torch.from_numpy(at))[0].numpy()
        wanted = trimesh.proximity.closest_point_naive(body, at.astype(np.float64))[1]
        largest = max(largest, float(np.abs(distance - wanted).max()))
        count += len(at)
    return [("nearest point, distance", count, largest, "", 1e-6)]


def inside(times: int) -> Rows:
    """Winding numbers of closed meshes: 1 inside, 0 outside, as Embree's rays say."""
    count = wrong = 0
    largest = 0.0
    for body in bodies(6 * times):
        at = np.random.default_rng(1).uniform(-0.8, 0.8, (3000, 3)).astype(np.float32)
        tree = kernels.surface_tree(
            torch.from_numpy(ours(body).vertices), torch.from_numpy(ours(body).faces)
        )
        winding = kernels.winding_number(tree, torch.from_numpy(at)).numpy()
        within = body.contains(at.astype(np.float64))
        wrong += int(((winding > 0.5) != within).sum())
        largest = max(largest, float(np.abs(winding - within).max()))
        count += len(at)
    return [
        ("winding number, points on the other side", count, float(wrong), "", 0),
        ("winding number, from 0 or 1", count, largest, "", 0.005),
    ]


def volume(times: int) -> Rows:
    """The volumes of closed meshes."""
    made = bodies(12 * times)
    largest = 0.0
    for body in made:
        solid = manifold3d.Manifold(
            manifold3d.Mesh(
                np.ascontiguousarray(body.vertices, np.float32),
                np.ascontiguousarray(body.faces, np.uint32),
            )
        )
        largest = max(largest, abs(ours(body).volume / solid.volume() - 1))
    return [("volume of a mesh, relative", len(made), largest, "", 1e-5)]


def isosurfaces(times: int) -> Rows:
    """Marching cubes of a torus's signed distance against the formula and against Manifold's level
    set (marching tetrahedra) of the same function with cells of the same size."""
    size, count = 64, 4 * times
    line = np.linspace(-1, 1, size)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    plain = theirs = curved = 0.0
    for number in range(count):
        small = 0.1 + 0.15 * number / max(count - 1, 1)
        exact = 2 * math.pi**2 * 0.55 * small**2

        def depth(px: float, py: float, pz: float, small: float = small) -> float:
            return small - math.hypot(math.hypot(px, pz) - 0.55, py)

        def within(p: np.ndarray, small: float = small) -> np.ndarray:
            return np.hypot(np.hypot(p[:, 0], p[:, 2]) - 0.55, p[:, 1]) < small

        field = small - np.hypot(np.hypot(x, z) - 0.55, y)
        mesh = isosurface(field, 0.0)
        assert mesh is not None
        solid = manifold3d.Manifold.level_set(depth, [-1, -1, -1, 1, 1, 1], 2 / (size - 1))
        plain = max(plain, abs(mesh.volume / exact - 1))
        theirs = max(theirs, abs(mesh.volume / solid.volume() - 1))
        settled = settle(mesh, field, 0.0, within)
        curved = max(curved, abs(curved_volume(settled) / exact - 1))
    return [
        ("marching cubes, volume against the formula, relative", count, plain, "", 0.03),
        ("marching cubes, volume against Manifold's level set, relative", count, theirs, "", 0.02),
        ("the volume that extraction aims at, relative", count, curved, "", 0.0005),
    ]
