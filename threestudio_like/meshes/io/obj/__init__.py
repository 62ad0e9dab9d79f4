"""Wavefront OBJ with its material libraries (MTL): reading, writing anew, and changing a file that
was read only where the asset differs from it."""
