"""Meshes: extraction, unwrapping, baking, files, pictures, verification."""

from .mesh import Asset, Mesh

__all__ = ["Asset", "Mesh"]
