"""Bottle, mug, vase, barrel, box and ball of the second world, in metres."""

from __future__ import annotations

import math

import numpy as np

from .solids import (
    Part,
    block,
    ellipsoid,
    hollow,
    join,
    lathe,
    plate,
    rectangle,
    slab,
    tube,
    turned_solid,
)


def bottle(rng: np.random.Generator, kind: str) -> list[Part]:
    """A wine or water bottle ("round"), or a squared flask; each with a cap."""
    u = rng.uniform
    r, tall, neck = u(0.034, 0.042), u(0.24, 0.31), u(0.012, 0.015)
    if kind == "square":
        tall = u(0.18, 0.24)
        body = tall * u(0.58, 0.66)
        trunk = plate(rectangle(2 * r, 2 * r, 0.012), body, body, 0.004)
        ring = slab(rectangle(2 * r - 0.006, 2 * r - 0.006, 0.012), 0.002).rotate((90, 0, 0))
        lid = slab(rectangle(1.7 * neck, 1.7 * neck, neck * 0.8), 0.002).rotate((90, 0, 0))
        cone = [ring.translate((0, body, 0)), lid.translate((0, body + 0.026, 0))]
        shoulder = cone[0].batch_hull(cone)
        pipe = turned_solid([(neck, body), (neck, tall - 0.01), (neck * 1.05, tall)], 12)
        parts = [Part(join([trunk, shoulder, pipe]))]
    else:
        shoulder = tall * u(0.55, 0.68)
        foot = [(r * 0.9, 0), (r, 0.006), (r, shoulder * 0.5), (r, shoulder)]
        rest = [(r * 0.86, shoulder + 0.018), (neck * 1.15, shoulder + 0.05), (neck, tall - 0.01)]
        parts = [Part(turned_solid([*foot, *rest, (neck, tall)], 80), round=True)]
    cap = turned_solid([(neck * 1.22, tall - 0.022), (neck * 1.22, tall), (neck, tall + 0.003)], 12)
    return [*parts, Part(cap, "dark" if rng.random() < 0.5 else "metal")]


def mug(rng: np.random.Generator, kind: str) -> list[Part]:
    """A straight mug, or one that bulges; the handle is to the right."""
    u = rng.uniform
    r, tall = u(0.038, 0.045), u(0.085, 0.105)
    if kind == "belly":
        side = [(r * 0.72, 0), (r * 0.9, tall * 0.15), (r * 1.06, tall * 0.45), (r, tall)]
    else:
        side = [(r * 0.94, 0), (r, 0.006), (r, tall * 0.5), (r, tall)]
    cup = hollow(side, 0.004, 0.006)
    angle = np.linspace(0.52 * math.pi, -0.52 * math.pi, 15)
    reach, high = u(0.024, 0.030), tall * u(0.27, 0.33)
    path = np.stack(
        [r * 0.97 + reach * np.cos(angle), tall * 0.52 + high * np.sin(angle), 0 * angle], 1
    )
    handle = tube(path, 0.0055).scale((1.0, 1.0, 1.35))
    core = lathe([(0, 0.003), (r * 0.9, 0.003), (r * 0.9, tall * 2), (0, tall * 2)])
    return [Part(cup, round=True), Part(handle - core)]


def vase(rng: np.random.Generator, kind: str) -> list[Part]:
    """A slender vase with a flared lip, or a bellied one."""
    u = rng.uniform
    tall = u(0.24, 0.34)
    if kind == "belly":
        belly, neck = tall * u(0.34, 0.42), tall * u(0.13, 0.18)
        side = [(tall * 0.18, 0), (belly, tall * u(0.36, 0.46)), (neck, tall * 0.82)]
        side.append((neck * u(1.3, 1.6), tall))
    else:
        wide = tall * u(0.19, 0.25)
        side = [(wide * 0.75, 0), (wide, tall * u(0.5, 0.62)), (wide * u(0.45, 0.6), tall * 0.84)]
        side.append((wide * u(0.8, 1.15), tall))
    return [Part(hollow(side, 0.006, 0.01), round=True)]


def barrel(rng: np.random.Generator, kind: str) -> list[Part]:
    """A cooper's barrel of staves with hoops, or a steel drum with two ribs."""
    u = rng.uniform
    tall, r = u(0.82, 0.95), u(0.27, 0.32)
    if kind == "drum":
        side = [(r, 0), (r, tall)]
        body = lathe(
            [
                (0, 0.02),
                (r * 0.95, 0.02),
                (r * 0.95, 0),
                *side,
                (r * 0.95, tall),
                (r * 0.95, tall - 0.02),
                (0, tall - 0.02),
            ]
        )
        ribs = [
            turned_solid([(r * 0.99, y - 0.02), (r * 1.035, y), (r * 0.99, y + 0.02)], 16)
            for y in (tall * 0.33, tall * 0.67)
        ]
        rims = [
            lathe([(r * 0.95, y), (r * 1.03, y), (r * 1.03, y + 0.025), (r * 0.95, y + 0.025)])
            for y in (0, tall - 0.025)
        ]
        plug = turned_solid(
            [(0.035, tall - 0.03), (0.035, tall), (0.028, tall + 0.004)], 8
        ).translate((r * 0.6, -0.012, 0))
        return [Part(join([body, *ribs, *rims]), round=True), Part(plug, "metal")]
    bulge = r * u(1.16, 1.26)
    height = np.linspace(0, tall, 25)
    radius = r + (bulge - r) * (1 - (2 * height / tall - 1) ** 2)
    side = np.stack([radius, height], 1)
    low, high = (
        [[0, 0.03], [r * 0.94, 0.03], [r * 0.94, 0]],
        [[r * 0.94, tall], [r * 0.94, tall - 0.03], [0, tall - 0.03]],
    )
    parts = [Part(lathe([*low, *side.tolist(), *high]), round=True)]
    for share in (0.045, 0.25, 0.75, 0.955):
        y, wide = tall * share, 0.022
        edge = np.linspace(y - wide, y + wide, 5)
        out = r + (bulge - r) * (1 - (2 * edge / tall - 1) ** 2) + 0.007
        ring = np.concatenate([np.stack([out, edge], 1), np.stack([out - 0.02, edge], 1)[::-1]])
        parts.append(Part(lathe(ring), "metal"))
    return parts


def box(rng: np.random.Generator, kind: str) -> list[Part]:
    """A wooden crate with corner posts and rails, a carton with tape, or a chest with a lid."""
    u = rng.uniform
    x, y, z = u(0.42, 0.6), u(0.32, 0.5), u(0.38, 0.52)
    if kind == "carton":
        parts = [Part(block((x, y, z), (0, y / 2, 0), 0.006))]
        tape = block((0.06, y * 0.3 + 0.003, z + 0.004), (0, y - y * 0.15 + 0.0015, 0))
        return [*parts, Part(tape, "linen")]
    if kind == "lidded":
        lid = y * 0.24
        return [
            Part(block((x - 0.024, y - lid * 0.5, z - 0.024), (0, (y - lid * 0.5) / 2, 0), 0.008)),
            Part(block((x, lid, z), (0, y - lid / 2, 0), 0.012)),
        ]
    frame = 0.05
    parts = [Part(block((x - 0.02, y - 0.02, z - 0.02), (0, y / 2, 0)))]
    rails = [block((x, frame, z), (0, h, 0), 0.004) for h in (frame / 2, y - frame / 2)]
    hole = block((x - 2 * frame, 2 * y, z - 2 * frame), (0, y / 2, 0))
    posts = [
        block((frame, y, frame), (sx * (x - frame) / 2, y / 2, sz * (z - frame) / 2), 0.004)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
    return [*parts, Part(join([*(rail - hole for rail in rails), *posts]), "wood")]


def ball(rng: np.random.Generator, kind: str) -> list[Part]:
    """A smooth ball, or a basketball with its seams."""
    r = float(rng.uniform(0.1, 0.13))
    sphere = ellipsoid((r, r, r), (0, r, 0), 96)
    if kind == "smooth":
        return [Part(sphere, round=True)]
    angle = np.linspace(0, 2 * math.pi, 49)
    groove = 0.018 * r
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) * r
    seams = [ring, ring[:, [2, 1, 0]], ring[:, [0, 2, 1]]]
    cut = join([tube(path + np.array([0, r, 0]), groove, 8) for path in seams])
    dark = ellipsoid((r * 0.985,) * 3, (0, r, 0), 96)
    tilt = (18.0, 30.0, 10.0)
    return [Part(sphere - cut, round=True).turned(tilt), Part(dark, "dark").turned(tilt)]
