"""How right the normals are that a prior draws for a prompt from given cameras.

A sample has no truth: it may show any object of the prompt. Two measures stand for it.

*Against the nearest*: of many true objects of the prompt, the one whose silhouettes from the same
cameras are nearest to the sample's, and the mean angle between the normals of both where both are
solid, a pixel within the edge. The nearest is chosen by outlines alone: to choose it by the normals
would flatter. Floors: normals that all face the camera, and another true object of the prompt at
random, against that nearest one. Ceiling: the nearest other true object, which is what a perfect
prior gets among so many objects; and what the autoencoder leaves of true normals.

*What noise hides*: true normals of a held-out object, noised to a time and denoised by the prior
for the prompt and the cameras. Here the truth is known. Floors: as above.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from prior_samples import ELEVATION, TURN, VIEWS, Figures, Sampler, cameras_of
from worlds import Asked

from threestudio_like.guidance.normals import in_space
from threestudio_like.priors.diffusion import DiffusionPrior
from threestudio_like.renderers import Cameras
from threestudio_like.toybox.dataset import normal_picture
from threestudio_like.toybox.edition import Edition
from threestudio_like.toybox.render import Views, render, view_projection
from threestudio_like.toybox.words import Phrase

LEVEL = 0.5
"""Grey behind normals: there a vector has the length 0, and on an object 1."""
SEED = 6301
TIMES = (0.4, 0.7)


@dataclass(frozen=True)
class Normals:
    """Unit normals (4, S, S, 3) in world axes, and where they are known (4, S, S), bool."""

    normal: torch.Tensor
    mask: torch.Tensor

    @property
    def inner(self) -> torch.Tensor:
        """The mask without its outermost pixel, where normals are mixed with the background."""
        hidden = torch.nn.functional.max_pool2d(1 - self.mask[:, None].float(), 3, 1, 1)
        return hidden[:, 0] < 0.5


def read(pictures: torch.Tensor, cameras: Cameras, prior: DiffusionPrior) -> tuple[Normals, float]:
    """The normals that pictures (4, S, S, 3) of the normal domain before `LEVEL` show, and by how
    much the vectors within are not of length 1."""
    vector = pictures * 2 - 1
    length = vector.norm(dim=-1)
    unit = vector / length.clamp_min(1e-6)[..., None]
    if prior.facts.normal_space == "camera":
        # The inverse of `in_space`: by the transposed turn.
        turn = cameras.camera_to_world[:, None, None, :3, :3].to(unit)
        unit = (turn @ unit[..., None])[..., 0]
    found = Normals(unit, length > 0.5)
    inner = found.inner
    off = float((length[inner] - 1).abs().mean()) if bool(inner.any()) else float("nan")
    return found, off


def angle(one: Normals, two: Normals) -> float:
    """Mean angle in degrees where both are known, a pixel within the edge; nan where nothing is."""
    both = one.inner & two.inner
    if not bool(both.any()):
        return float("nan")
    cosine = (one.normal * two.normal).sum(-1)[both].clamp(-1, 1)
    return float(cosine.acos().rad2deg().mean())


def facing(one: Normals, cameras: Cameras) -> Normals:
    """What who knows nothing but an outline can say: every normal faces its camera."""
    back = cameras.camera_to_world[:, None, None, :3, 2].to(one.normal)
    return Normals(back.expand_as(one.normal), one.mask)


def overlap(one: Normals, two: Normals) -> float:
    """Mean IoU of the silhouettes over the views."""
    inter = (one.mask & two.mask).sum((1, 2))
    union = (one.mask | two.mask).sum((1, 2)).clamp_min(1)
    return float((inter / union).mean())


def drawn(world: Edition, phrase: Phrase, number: int, split: str, size: int) -> Views:
    """A true object of a phrase from the cameras of `cameras_of`."""
    rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
    obj = world.build(phrase, rng, split)
    turns = [TURN + k * np.pi / 2 for k in range(VIEWS)]
    cameras = np.stack([view_projection(t, ELEVATION) for t in turns])
    return render(obj, cameras, size, np.full((VIEWS, 3), LEVEL, np.float32))


def normals_of(views: Views) -> Normals:
    """The true normals of drawn views."""
    return Normals(torch.from_numpy(views.normal), torch.from_numpy(views.mask) > 0.5)


def true_pictures(views: Views, cameras: Cameras, prior: DiffusionPrior) -> torch.Tensor:
    """Pictures (4, S, S, 3) of the true normals, in the prior's axes."""
    turned = in_space(torch.from_numpy(views.normal), cameras, prior.facts.normal_space)
    return torch.from_numpy(normal_picture(replace(views, normal=turned.numpy()), LEVEL)).float()


def pool(world: Edition, phrase: Phrase, count: int, size: int) -> list[Normals]:
    """True objects of a phrase's shape, of all splits in turn."""
    shape = Phrase(phrase.category, "red", phrase.mode, adjectives=phrase.adjectives)
    splits = ("train", "validation", "test")
    return [normals_of(drawn(world, shape, n, splits[n % 3], size)) for n in range(count)]


def nearest(one: Normals, known: list[Normals]) -> int:
    """The number of the one whose silhouettes are nearest."""
    return int(np.argmax([overlap(one, other) for other in known]))


def against_nearest(
    sampler: Sampler, world: Edition, asked: Asked, seed: int, count: int
) -> tuple[Figures, torch.Tensor]:
    """The figures of one sample of normals against the nearest of `count` true objects, and its
    pictures (4, S, S, 3)."""
    phrase, size = asked.phrases[0], sampler.prior.facts.image_size
    pictures = replace(sampler, domain="normal", level=LEVEL)(asked.text, seed)
    found, off = read(pictures, cameras_of(size), sampler.prior)
    known = pool(world, phrase, count, size)
    best = nearest(found, known)
    others = [n for k, n in enumerate(known) if k != best]
    rng = np.random.Generator(np.random.Philox(key=[SEED + 1, seed]))
    figures = {
        "error": angle(found, known[best]),
        "facing": angle(facing(known[best], cameras_of(size)), known[best]),
        "floor": angle(others[int(rng.integers(len(others)))], known[best]),
        "ceiling": angle(others[nearest(known[best], others)], known[best]),
        "silhouette IoU": overlap(found, known[best]),
        "silhouette IoU, ceiling": overlap(others[nearest(known[best], others)], known[best]),
        "length off": off,
    }
    return figures, pictures


@torch.no_grad()
def behind_noise(sampler: Sampler, world: Edition, asked: Asked, seed: int) -> Figures:
    """Errors of what noise of `TIMES` hides of a held-out object's normals, of what the autoencoder
    leaves of them (the ceiling), and of another object (the floor)."""
    prior, phrase = sampler.prior, asked.phrases[0]
    size = prior.facts.image_size
    cameras, sampler = cameras_of(size), replace(sampler, domain="normal", level=LEVEL)
    views = drawn(world, phrase, 10_000 + seed, "test", size)
    truth = normals_of(views)
    clean = prior.encode_image(true_pictures(views, cameras, prior))
    kept = read(prior.decode_latents(clean), cameras, prior)[0]
    other = normals_of(drawn(world, phrase, 20_000 + seed, "test", size))
    figures = {
        "autoencoder": angle(kept, truth),
        "another object": angle(other, truth),
        "facing": angle(facing(truth, cameras), truth),
    }
    for time in TIMES:
        first = prior.schedule.sampling_times(max(1, round(sampler.steps * time)), time)[0][0]
        t = torch.full((VIEWS,), first)
        noise = sampler.latents(seed)
        noisy = prior.schedule.add_noise(clean, noise, t)
        found = read(sampler(asked.text, seed, noisy, time), cameras, prior)[0]
        figures[f"noise at {time}"] = angle(found, truth)
    return figures
