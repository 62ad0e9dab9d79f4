"""Meshes: extraction, unwrapping, baking, files, pictures and verification."""

from .mesh import Asset, Mesh

__all__ = ["Asset", "Mesh"]
