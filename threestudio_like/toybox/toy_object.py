"""A toybox object as an exact coloured mesh, and several of them as one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .words import Phrase

SPLITS = ("train", "validation", "test")
RADIUS = 0.95
"""Radius of the sphere about the origin that every object and scene exactly fits into."""


@dataclass
class ToyObject:
    """An exact coloured mesh in the unit sphere, with +Y up and its front towards +Z.

    vertices (V, 3) float32; faces (F, 3) int32; face_material (F,) int32, an index into
    `materials`; materials (M, 7) float32, with RGB in [0, 1], the second RGB of a pattern, and the
    code of the pattern (`patterns.py`).
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_material: np.ndarray
    materials: np.ndarray
    caption: str
    phrases: list[Phrase]
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Face ranges [begin, end) of the objects of a scene, one for each phrase."""
    painted: np.ndarray | None = None
    """Where each vertex (V, 3) float32 lies in the space of the patterns, so that a pattern moves
    and shrinks with its object; None for the places of the vertices themselves."""

    @property
    def pattern_points(self) -> np.ndarray:
        """The vertices' places (V, 3) in the space of the patterns."""
        return self.vertices if self.painted is None else self.painted


def fit_to_sphere(vertices: np.ndarray) -> np.ndarray:
    """Move the centre of the bounding box to the origin and scale to `RADIUS`: (V, 3) to (V, 3)
    float32."""
    center = (vertices.min(0) + vertices.max(0)) / 2
    vertices = vertices - center
    return (vertices * (RADIUS / np.linalg.norm(vertices, axis=1).max())).astype(np.float32)


def merge(objects: list[ToyObject], caption: str, fit: bool = True) -> ToyObject:
    """Several objects at their places as one mesh, with a face range for each. `fit` scales the
    whole into the unit sphere."""
    vertices, faces, face_material, materials, parts, phrases = [], [], [], [], [], []
    v_offset = m_offset = f_offset = 0
    for obj in objects:
        vertices.append(obj.vertices)
        faces.append(obj.faces + v_offset)
        face_material.append(obj.face_material + m_offset)
        materials.append(obj.materials)
        parts.append((f_offset, f_offset + len(obj.faces)))
        phrases += obj.phrases
        v_offset, m_offset, f_offset = (
            v_offset + len(obj.vertices),
            m_offset + len(obj.materials),
            f_offset + len(obj.faces),
        )
    points = np.concatenate(vertices)
    carried = any(obj.painted is not None for obj in objects)
    return ToyObject(
        fit_to_sphere(points) if fit else points,
        np.concatenate(faces),
        np.concatenate(face_material),
        materials=np.concatenate(materials),
        caption=caption,
        phrases=phrases,
        parts=parts,
        painted=np.concatenate([obj.pattern_points for obj in objects]) if carried else None,
    )
