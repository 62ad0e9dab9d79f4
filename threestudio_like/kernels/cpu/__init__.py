"""Numba twins of the operations, one file each; helpers stand in the same file, for the compiled cache is keyed on it."""
