"""True objects of both worlds as closed coloured meshes, and the figures of an asset against the
nearest of them, beside those of a random object (the floor) and of the nearest other true object
(the ceiling)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from manifold3d import Error, Manifold, OpType
from manifold3d import Mesh as Triangles
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from worlds import world_at_hand

from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.picture import render_asset
from threestudio_like.meshes.surface.clean import clean
from threestudio_like.meshes.surface.extraction import silhouette
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.metrics.appearance import SIZE, appearance
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.renderers import RingCameras
from threestudio_like.toybox.coloured import coloured_mesh
from threestudio_like.toybox.render import LIGHT
from threestudio_like.toybox.toy_object import ToyObject
from threestudio_like.toybox.words import Phrase

from .judge import SecondJudge, folder_of
from .shapes import KINDS, Thing, face_normals, make

RING = RingCameras(count=8, elevation=15.0)
SEED = 6007
WORLDS = ("own", "second")
JUDGED = ("judge: category", "judge: colour", "judge: pattern")
Figures = dict[str, float]


def separate(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> Mesh:
    """A mesh whose faces have one colour each (F, 3): corners are split."""
    points = np.ascontiguousarray(vertices[faces].reshape(-1, 3), np.float32)
    corners = np.repeat(colours.astype(np.float32), 3, 0)
    return Mesh(points, np.arange(len(points), dtype=np.int32).reshape(-1, 3), colours=corners)


def lit(colours: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Colours (N, 3) under the even light that the embedded priors bake into assets."""
    n = np.concatenate([normals, np.ones((len(normals), 1))], 1)
    light = np.einsum("ni,ij,nj->n", n, np.array(LIGHT), n)
    return (colours * light[:, None]).clip(0, 1)


def mesh_of(thing: Thing) -> Mesh:
    """The coloured mesh of an object of the second world, under that light."""
    normals = face_normals(thing.vertices, thing.faces)
    return separate(thing.vertices, thing.faces, lit(thing.colours(), normals))


def closed_toy(obj: ToyObject) -> Mesh:
    """The coloured mesh of an object of the toybox without what its parts hide in each other; as
    it is where its parts are not closed."""
    plain = Mesh(obj.vertices, obj.faces)
    solids = []
    for number in range(int((piece := _pieces(obj.faces)).max()) + 1):
        # Turned parts close at their poles only up to a small ring.
        part = clean(plain.keep_faces(piece == number), weld_share=1e-5, holes=64)[0]
        places = part.welded()
        first = np.zeros(places.max() + 1, np.int64)
        first[places] = np.arange(len(places))
        corner = places[part.faces]
        points = part.vertices[first]
        # Parts that only touch would leave edges of four faces: each grows by a thousandth.
        centre = (points.min(0) + points.max(0)) / 2
        points = (centre + (points - centre) * np.float32(1.001)).astype(np.float32)
        solid = Manifold(Triangles(points, np.ascontiguousarray(corner, np.uint32)))
        if solid.status() != Error.NoError or solid.volume() <= 0:
            return coloured_mesh(obj)
        solids.append(solid)
    whole = Manifold.batch_boolean(solids, OpType.Add).to_mesh()
    vertices = np.asarray(whole.vert_properties)[:, :3]
    faces = np.asarray(whole.tri_verts).astype(np.int32)
    normals = face_normals(vertices, faces)
    return separate(vertices, faces, lit(_toy_colours(obj, vertices[faces].mean(1)), normals))


def _pieces(faces: np.ndarray) -> np.ndarray:
    """The number (F,) of the part of every face: parts share no vertex, even where they touch."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    count = int(faces.max()) + 1
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    number = connected_components(graph, directed=False)[1][faces[:, 0]]
    return np.unique(number, return_inverse=True)[1]


def _toy_colours(obj: ToyObject, points: np.ndarray) -> np.ndarray:
    """Unlit colours (N, 3) of the faces of a toybox object that are nearest to points (N, 3)."""
    from threestudio_like.kernels import nearest, surface_tree

    tree = surface_tree(torch.from_numpy(obj.vertices), torch.from_numpy(obj.faces))
    face = nearest(tree, torch.from_numpy(points.astype(np.float32)))[1].numpy()
    return np.asarray(obj.materials[obj.face_material[face], :3], np.float64)


@lru_cache(maxsize=4)
def pool(
    world: str, category: str, mode: str | None, colour: str, pattern: str, count: int
) -> tuple[list[Mesh], np.ndarray]:
    """`count` true objects in the words given, and their silhouettes (N, 8, 64, 64)."""
    meshes = []
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(key=[SEED, n]))
        if world == "own":
            split = ("train", "validation", "test")[n % 3]
            toy = world_at_hand().build(Phrase(category, colour, mode, pattern), rng, split)
            meshes.append(closed_toy(toy))
        else:
            kind = mode if mode in KINDS[category][1] else None
            meshes.append(mesh_of(make(category, colour, pattern, rng, kind)))
    matrices = RING.all(64).view_projection().numpy()
    return meshes, np.stack([silhouette(m, matrices, 64) for m in meshes])


def overlaps(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean IoU over the views of one object (8, S, S) with each of several (N, 8, S, S)."""
    inter = np.logical_and(known, mask).sum((2, 3))
    union = np.logical_or(known, mask).sum((2, 3))
    return np.asarray((inter / np.maximum(union, 1)).mean(1))


@lru_cache(maxsize=1)
def second_judge() -> SecondJudge | None:
    """The trained second judge of the edition at hand, or None where there is none yet."""
    from threestudio_like.engine.errors import ModelError

    try:
        return SecondJudge.load(folder_of(world_at_hand()))
    except ModelError:
        return None


def judged(asset: Asset, phrase: Phrase) -> Figures:
    """Shares of eight views in which the second judge names what the phrase says; nan where it is
    not trained, or does not know the word."""
    judge = second_judge()
    if judge is None:
        return dict.fromkeys(JUDGED, math.nan)
    matrices = RING.all(128).view_projection().numpy()
    pictures = torch.from_numpy(render_asset(asset, matrices, 128, 0.9).image)
    verdict = judge(pictures)
    asked = (
        (verdict.category, judge.words.categories, phrase.category),
        (verdict.colour, judge.words.colours, phrase.colour),
        (verdict.pattern, judge.words.patterns, phrase.pattern),
    )
    out = {}
    for name, (shares, words, word) in zip(JUDGED, asked):
        known = word in words
        right = shares.argmax(1) == (words.index(word) if known else -1)
        out[name] = float(right.float().mean()) if known else math.nan
    return out


def against(
    asset: Asset, phrase: Phrase, world: str, count: int = 24, size: int = SIZE, seed: int = 0
) -> dict[str, Figures]:
    """The figures of an asset, and of floor and ceiling, all against the true object of the world
    whose silhouettes are nearest to the asset's.

    Args:
        count: true objects among which the nearest is searched for.
        size: pixels of the pictures that are measured.
        seed: chooses the random object of the floor.
    """
    mode = phrase.mode or world_at_hand().vocabulary.usual(phrase.category)
    colour = phrase.colour or "red"
    meshes, known = pool(world, phrase.category, mode, colour, phrase.pattern, count)
    matrices = RING.all(64).view_projection().numpy()
    whole = asset.mesh
    scores = overlaps(silhouette(whole, matrices, 64), known)
    best = int(scores.argmax())
    made = row(asset, whole, meshes[best], float(scores[best]), phrase, size)
    rest = overlaps(known[best], known)
    rest[best] = -1
    return {"made": made, **bounds(meshes[best], meshes, rest, phrase, size, seed)}


def bounds(
    truth: Mesh, meshes: list[Mesh], scores: np.ndarray, phrase: Phrase, size: int, seed: int
) -> dict[str, Figures]:
    """The figures of the floor, one of several meshes at random, and of the ceiling, the one whose
    overlap with the truth is largest, against the truth; a score (N,) below zero leaves one out."""
    free = np.flatnonzero(scores >= 0)
    rng = np.random.Generator(np.random.Philox(key=[SEED + 1, seed]))
    chosen = {"floor": int(free[rng.integers(len(free))]), "ceiling": int(scores.argmax())}
    return {
        name: row(Asset({"": meshes[k]}), meshes[k], truth, float(scores[k]), phrase, size)
        for name, k in chosen.items()
    }


def row(
    asset: Asset, mesh: Mesh, truth: Mesh, overlap: float, phrase: Phrase, size: int
) -> Figures:
    """All figures of one asset against one true mesh."""
    cameras = RING.all(size)
    seen = appearance(mesh, truth, cameras, size)
    volume = voxel_iou(voxelise(mesh), voxelise(truth))
    return {"silhouette IoU": overlap, "volume IoU": volume, **judged(asset, phrase), **seen}


def best_turn(mesh: Mesh, truth: Mesh, step: float = 15.0) -> tuple[float, float, float]:
    """Volume IoU on 32^3 cells as the mesh stands, at its best turn about the vertical, and that
    turn in degrees."""
    wanted = voxelise(truth)

    def at(degrees: float) -> float:
        return voxel_iou(voxelise(turned(mesh, degrees)), wanted)

    scores = {step * k: at(step * k) for k in range(round(360 / step))}
    best = max(scores, key=lambda k: scores[k])
    scores |= {best + off: at(best + off) for off in (-10.0, -5.0, 5.0, 10.0)}
    best = max(scores, key=lambda k: scores[k])
    return scores[0.0], scores[best], best


def turned(mesh: Mesh, degrees: float) -> Mesh:
    """The mesh, turned about the vertical and fitted into the unit sphere."""
    from dataclasses import replace

    from threestudio_like.meshes.frames import Normalisation

    a = math.radians(degrees)
    turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    points = (mesh.vertices.astype(np.float64) @ turn.T).astype(np.float32)
    return replace(mesh, vertices=Normalisation.of(points).apply(points), normals=None)


__all__: list[Any] = ["against", "best_turn", "closed_toy", "mesh_of", "row", "turned"]
