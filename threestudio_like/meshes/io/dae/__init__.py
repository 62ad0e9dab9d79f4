"""COLLADA (.dae), by pycollada."""
