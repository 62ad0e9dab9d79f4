"""Textures on meshes: texture coordinates, atlases, baking, the look of every texel."""
