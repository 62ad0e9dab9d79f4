"""A second small world, made by other means than the toybox: solids of constructive geometry,
turned splines, skinned spheres and extruded outlines, in the proportions of ordinary things, drawn
by ray casting under a sun and a sky.

Nothing of it trains a prior. It shows what a method has learnt beyond the toybox's own look.
"""
