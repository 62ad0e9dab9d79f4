"""The engine: the stage loop, schedules, random streams, checkpoints, events and errors.

It knows nothing about meshes, priors or methods.
"""
