"""Mesh and picture files."""
