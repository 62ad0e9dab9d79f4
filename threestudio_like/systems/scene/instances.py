"""Which of many candidates are the things that a prompt names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_opening, label
from scipy.spatial import cKDTree

from ...engine.schema.bounds import Number, Weight
from ...priors.clip import ImageTextPrior
from ...priors.framing import cut, similarities
from ...toybox.vocabulary import COLOURS
from ...toybox.words import split
from .parts import Part, apart, copies, mask_box
from .prompt import Relation, SceneText

SAME = 0.85
"""IoU from which two candidates are one."""
REST = 0.008
"""Share of the picture from which what no candidate covers is a candidate itself."""
ISLAND, LIKE = 0.002, 0.6
"""The same of what the background surrounds, and the IoU from which the segmenter has it already,
and better."""
PIECE = 0.7
"""How sure such a piece is, and one of a colour."""
AGAIN = 20
"""Choices that are looked at again, the best first."""
BORDER, MOST = 6.0, 8
"""Distance in Lab up to which a colour is one of the picture's border; pieces of one colour, the
largest first."""


@dataclass(frozen=True, kw_only=True)
class NamingWeights:
    """What a choice of candidates is judged by, besides the share of the foreground that it covers:
    how well the phrases fit (mean cosine), how sure the segmenter was (mean), how much the chosen
    ones overlap (mean share), how many relations of the prompt they contradict (a phrase).
    Measured on toybox scenes."""

    phrases: Weight = 2.0
    sureness: Weight = 1.2
    overlap: Weight = 0.5
    relations: Weight = 0.3
    lost: Weight = 1.0
    """What a thing costs (a phrase) of which hardly anything remains, as the others have it."""
    beam: Number = 150
    """Partial choices that are kept."""


def told_parts(
    picture: np.ndarray,
    foreground: np.ndarray,
    masks: list[np.ndarray],
    scores: list[float],
    text: SceneText,
    clip: ImageTextPrior,
    holds: Callable[[list[Part]], Sequence[bool]],
) -> tuple[list[Part], float]:
    """`named_parts`; once more with pieces in the colours that the prompt names, where the
    segmenter's do not hold all that is named.

    Args:
        holds: which parts are what their phrases mean.
    """

    def chosen(more: list[np.ndarray]) -> tuple[list[Part], float]:
        sure = scores + [PIECE] * len(more)
        return named_parts(
            picture, foreground, masks + more, sure, text.objects, clip, relations=text.relations
        )

    def held(parts: list[Part]) -> tuple[int, float]:
        named = [p for p in parts if p.phrase]
        return sum(holds(named)), min([p.likeness for p in named], default=-1.0)

    found = chosen([])
    if held(found[0])[0] == len(text.objects):
        return found
    pieces = coloured(picture, foreground, text.objects)
    return max([found, *([chosen(pieces)] if pieces else [])], key=lambda f: held(f[0]))


def named_parts(
    picture: np.ndarray,
    foreground: np.ndarray,
    masks: list[np.ndarray],
    scores: list[float],
    phrases: list[str],
    clip: ImageTextPrior,
    weights: NamingWeights | None = None,
    relations: Sequence[Relation] = (),
) -> tuple[list[Part], float]:
    """One candidate for each phrase, such that phrases fit, the foreground is covered, nothing is
    taken twice, and things lie to each other as is said; by a beam search. Its best choices are
    looked at again, each thing by what remains of it once every pixel belongs to one: a box behind
    a table is little like a box as long as the table is part of it.

    Args:
        picture: (H, W, 3) in [0, 1]. foreground: (H, W) bool. masks: candidates (H, W) bool.
            scores: how sure the segmenter is of each. relations: between phrases, by number.

    Returns:
        Parts in the order of the phrases, fewer (whatever there is) where there are not enough;
        share of the foreground that is left.
    """
    masks, scores = _pool(masks, scores, foreground)
    parts = [Part("", m.astype(np.float32), mask_box(m)) for m in masks]
    if len(parts) < len(phrases):
        return parts, 0.0
    alike, weights = likenesses(picture, parts, phrases, clip=clip), weights or NamingWeights()
    choices = _search(
        masks, scores, foreground, above_mean(alike), weights=weights, relations=relations
    )[:AGAIN]
    remain = [apart(copies([parts[k] for k in chosen])) for chosen in choices]
    again = _remaining_likenesses(picture, remain, phrases, clip)
    best, highest = 0, -np.inf
    for number, (chosen, own, liked) in enumerate(zip(choices, remain, again, strict=True)):
        covered = np.any([p.mask > 0.5 for p in own], 0)
        both = (covered & foreground).sum() / max(int((covered | foreground).sum()), 1)
        boxes = np.stack([p.visible for p in own])
        off = sum(contradicted(boxes[: n + 1], relations) for n in range(len(own)))
        gone = sum(not real for real in _real(own, masks, chosen))
        value = weights.phrases * liked.sum() + weights.sureness * sum(scores[k] for k in chosen)
        value -= weights.relations * off + weights.lost * gone
        if both + value / len(own) > highest:
            best, highest = number, both + value / len(own)
    chosen, own = choices[best], remain[best]
    for number, part in enumerate(own):
        part.phrase, part.likeness = phrases[number], float(again[best][number])
        part.sureness = part.likeness - float(alike[:, number].mean())
    covered = np.any([p.mask > 0.5 for p in own], 0)
    left = float((foreground & ~covered).sum() / max(int(foreground.sum()), 1))
    return [p for p, real in zip(own, _real(own, masks, chosen)) if real], left


def _real(own: list[Part], masks: list[np.ndarray], chosen: Sequence[int]) -> list[bool]:
    """Which parts have kept enough of their candidates to be things: a prompt that names more than
    there is makes one thing stand for two."""
    kept = [int((p.mask > 0.5).sum()) for p in own]
    return [n >= 0.3 * masks[k].sum() for n, k in zip(kept, chosen, strict=True)]


def _remaining_likenesses(
    picture: np.ndarray, remain: list[list[Part]], phrases: list[str], clip: ImageTextPrior
) -> list[np.ndarray]:
    """Cosines (phrases,) of every choice's parts with their phrases; a crop that several choices
    share is looked at once."""
    unique: dict[bytes, Part] = {}
    keys = [[np.packbits(p.mask > 0.5).tobytes() for p in own] for own in remain]
    for names, own in zip(keys, remain, strict=True):
        unique.update(zip(names, own, strict=True))
    rows = {key: n for n, key in enumerate(unique)}
    alike = likenesses(picture, list(unique.values()), phrases, clip=clip)
    return [np.array([alike[rows[key], n] for n, key in enumerate(names)]) for names in keys]


def coloured(
    picture: np.ndarray, foreground: np.ndarray, phrases: Sequence[str]
) -> list[np.ndarray]:
    """Pieces (H, W) bool of the foreground in the colours that phrases name, and all of one colour
    together: where a purple mug stands on an orange barrel, colours tell one from the other. What
    has a colour of the picture's border may be seen through a thing, and is none."""
    from skimage.color import rgb2lab

    named = sorted({word for phrase in phrases for word in split(phrase)} & COLOURS.keys())
    if not named:
        return []
    lab = rgb2lab(picture[..., :3].astype(np.float64))
    edge = np.unique(np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]]).round(), axis=0)
    # Light and shade move lightness most.
    shrink = np.array([0.5, 1.0, 1.0])
    known = rgb2lab(np.array(list(COLOURS.values()))) * shrink
    nearest = np.full(foreground.shape, -1)
    nearest[foreground] = cKDTree(known).query(lab[foreground] * shrink)[1]
    nearest[foreground] = np.where(
        cKDTree(edge).query(lab[foreground])[0] < BORDER, -1, nearest[foreground]
    )
    found = []
    for name in named:
        own = binary_opening(nearest == list(COLOURS).index(name))
        pieces, _ = label(own)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        large = [k for k in np.argsort(-sizes)[:MOST] if sizes[k] >= ISLAND * own.size]
        found += [pieces == k for k in large]
        if len(large) > 1:
            found.append(np.isin(pieces, large))
    return found


def _pool(
    masks: list[np.ndarray], scores: list[float], foreground: np.ndarray
) -> tuple[list[np.ndarray], list[float]]:
    """Candidates that differ, the surest first; what stands apart from all else, and what none of
    them covers."""
    kept: list[np.ndarray] = []
    sure: list[float] = []
    for n in np.argsort(-np.asarray(scores), kind="stable"):
        if all((masks[n] & k).sum() < SAME * (masks[n] | k).sum() for k in kept):
            kept.append(masks[n])
            sure.append(scores[n])
    islands, count = label(binary_opening(foreground, iterations=1))
    standing = [islands == k for k in range(1, count + 1)] if count > 1 else []
    for piece in standing:
        known = any((piece & m).sum() >= LIKE * (piece | m).sum() for m in kept)
        if piece.mean() >= ISLAND and not known:
            kept.append(piece)
            sure.append(PIECE)
    rest = foreground & ~np.any(kept, 0) if kept else foreground
    labels, count = label(binary_opening(rest, iterations=2))
    for k in range(1, count + 1):
        piece = labels == k
        if piece.mean() >= REST:
            kept.append(piece)
            sure.append(0.5)
    return kept, sure


def _search(
    masks: list[np.ndarray],
    scores: list[float],
    foreground: np.ndarray,
    fit: np.ndarray,
    weights: NamingWeights,
    relations: Sequence[Relation],
) -> list[tuple[int, ...]]:
    """A candidate for each column of fit (candidates, phrases), the best choice first."""
    boxes = np.stack([mask_box(m) for m in masks])
    step = max(1, max(foreground.shape) // 64)

    def coarse(mask: np.ndarray) -> np.ndarray:
        height, width = (n // step * step for n in mask.shape)
        cells = mask[:height, :width].reshape(height // step, step, width // step, step)
        return cells.mean((1, 3)).astype(np.float32).ravel()

    stack, front, count = np.stack([coarse(m) for m in masks]), coarse(foreground), fit.shape[1]
    area = np.maximum(stack.sum(1), 1e-6)
    beam: list[tuple[float, tuple[int, ...], float, np.ndarray, float]] = [
        (0.0, (), 0.0, np.zeros_like(front), 0.0)
    ]
    for n in range(count):
        longer = []
        for _, chosen, liked, union, twice in beam:
            shared = twice + np.minimum(stack, union).sum(1) / area
            unions = np.maximum(stack, union)
            covered = np.minimum(unions, front).sum(1) / np.maximum(
                np.maximum(unions, front).sum(1), 1e-6
            )
            for k in range(len(masks)):
                if k not in chosen:
                    now = liked + weights.phrases * float(fit[k, n]) + weights.sureness * scores[k]
                    now -= weights.relations * contradicted(boxes[[*chosen, k]], relations)
                    total = float(covered[k]) + (now - weights.overlap * float(shared[k])) / count
                    longer.append((total, (*chosen, k), now, unions[k], float(shared[k])))
        beam = sorted(longer, key=lambda state: -state[0])[: weights.beam]
    return [state[1] for state in beam]


def contradicted(boxes: np.ndarray, relations: Sequence[Relation]) -> int:
    """Relations of the last of some things, whose boxes (N, 4) are x0, y0, x1, y1 in a picture,
    that do not look as they are said: left and right by the middles of the boxes, under by their
    tops, on by their feet, which of things on one floor tell what is nearer too."""
    found = 0
    for relation in relations:
        one, other = relation.subject, relation.object
        if max(one, other) != len(boxes) - 1:
            continue
        middle = (boxes[one] - boxes[other])[[0, 2]].sum()
        feet = boxes[one, 3] - boxes[other, 3]
        off = {
            "left of": middle,
            "right of": -middle,
            "on": feet,
            "under": boxes[other, 1] - boxes[one, 1],
            "in front of": -feet,
            "behind": feet,
        }
        found += bool(off.get(relation.kind, 0) > 0)
    return found


def phrase_scores(
    picture: np.ndarray, parts: list[Part], phrases: list[str], clip: ImageTextPrior, size: int = 96
) -> np.ndarray:
    """`likenesses` (parts, phrases), each phrase's mean taken off."""
    return above_mean(likenesses(picture, parts, phrases, clip=clip, size=size))


def above_mean(alike: np.ndarray) -> np.ndarray:
    """Likenesses (parts, phrases), each phrase's mean taken off: a phrase that likes every crop
    says nothing."""
    return alike - alike.mean(0, keepdims=True) if len(alike) > 1 else alike


@torch.no_grad()
def likenesses(
    picture: np.ndarray, parts: list[Part], phrases: list[str], clip: ImageTextPrior, size: int = 96
) -> np.ndarray:
    """Cosines (parts, phrases) of crops on grey and phrases."""
    x = torch.from_numpy(np.ascontiguousarray(picture[..., :3], np.float32)).permute(2, 0, 1)
    crops = []
    for part in parts:
        mask = torch.from_numpy(part.mask)
        frame = similarities(torch.from_numpy(part.visible.astype(np.float32))[None])[0]
        both = cut(torch.cat([x * mask, mask[None]])[None], [frame], size)[0]
        crops.append((both[:3] + 0.8 * (1 - both[3:])).permute(1, 2, 0))
    return (clip.embed_images(torch.stack(crops)) @ clip.embed_texts(phrases).t()).numpy()
