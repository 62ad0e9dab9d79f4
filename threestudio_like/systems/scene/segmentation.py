"""A picture of several things, taken apart: where each object is, which phrase of the prompt means
it, what hides what (METHODS 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from ...engine.errors import ConfigError, InputError
from ...engine.schema.bounds import Share
from ...priors.clip import load_clip
from ...priors.registry import EMBEDDED, embedded_folder
from ...priors.segmentation.automatic import AutomaticConfig, candidates, everything, probability
from ...priors.segmentation.behind import before_gradient
from ...priors.segmentation.colour_cells import ColourCells
from ...priors.segmentation.cut_out import embedded_segmenter, plain_border
from ...priors.segmentation.prompts import Prompts, PromptSegmenter
from ...priors.segmentation.segment_anything import load_segmenter
from ...priors.segmentation.segmenter import BorderSegmenter
from ...toybox.editions import edition_of
from ..cut_out.marks import FEWEST, check_boxes
from .instances import told_parts
from .parts import Part, adopt, apart, copies, fill_holes, in_reach, mask_box
from .presence import PresenceLimits, Rivals, notes_on, rivals_of
from .prompt import SceneText

INSIDE = 0.6
"""Share of a mask within the foreground from which on the foreground is believed."""
STRAY = 0.05
"""Share of a thing from which on a piece left out is told."""
SIDES = 0.05
"""Share of a box that the thing beside it may take, where both only stand side by side."""
SMALL = 0.01
"""Pixels of the smallest thing before a plain background, by those of the largest."""
MOST = 12
"""Objects of one scene; the method is known to work for two to five (METHODS 4.7)."""


@dataclass(frozen=True, kw_only=True)
class DecomposeConfig(PresenceLimits):
    """How objects are found."""

    segmenter: str = "toybox"
    """The embedded one, a name (sam-vit-base, sam2.1-tiny, …), a folder, or an original checkpoint
    (.pth)."""
    automatic: AutomaticConfig = field(default_factory=AutomaticConfig)
    """Where no boxes are given."""
    named: AutomaticConfig = field(
        default_factory=lambda: AutomaticConfig(first=0.2, score=0.35, stability=0.5)
    )
    """Where a prompt says what there is: more is looked at, as its phrases choose."""
    snap: Literal["auto", "always", "never"] = "auto"
    """Snap masks to cells of one colour; auto: those of the embedded segmenter, which are
    coarse."""
    clip: str = "toybox"
    """Which phrase means which object."""
    grow: Share = 0.35
    """Share by which the box of an object is grown on the sides where another one hides it."""


def check_marks(
    boxes: np.ndarray | None, masks: int | None, text: SceneText, width: int, height: int
) -> None:
    """Raise ConfigError where boxes (N, 4) in pixels of the file, or so many masks, are no objects
    of the picture or of the prompt."""
    if boxes is not None:
        # Of what the prompt puts in, on or before another thing, the box may lie in the other's.
        apart = frozenset(
            (r.subject, r.object)
            for r in text.relations
            if r.kind in ("in", "on", "under", "in front of", "behind")
        )
        check_boxes(boxes, width, height, apart=apart)
    for count, option in ((None if boxes is None else len(boxes), "--boxes"), (masks, "--masks")):
        if count is None:
            continue
        if count > MOST:
            raise ConfigError(
                f"{count} {option.strip('-')} are more than the {MOST} objects that one scene "
                "holds",
                option,
                "Compose it in parts",
            )
        check_counts(count, text, option)


def _shown(parts: list[Part], before: list[Part], where: str) -> list[Part]:
    """The parts, once it is sure that every one still shows something. Raises InputError."""
    for number, part in enumerate(parts, 1):
        if (part.mask > 0.5).sum() < FEWEST:
            whole = before[number - 1].mask > 0.5
            shared = [int(((p.mask > 0.5) & whole).sum()) for p in before]
            shared[number - 1] = -1
            raise InputError(
                f"object {number} is hidden wholly by object {int(np.argmax(shared)) + 1}",
                where,
                "Give each object pixels of its own",
            )
    return parts


def check_counts(found: int, text: SceneText, where: str) -> None:
    """Raise ConfigError where a prompt and what is given do not name the same number of objects."""
    said = len(text.objects)
    if not text.prompt or found == said:
        return
    names = ", ".join(f'"{o}"' for o in text.objects) or "none"
    what = "more objects than" if found > said else "fewer objects than"
    raise ConfigError(
        f"gives {found}, {what} the {said} that the prompt names ({names})",
        where,
        "Name every object once in the prompt, and give each one",
    )


def cells_of(picture: np.ndarray, config: DecomposeConfig) -> ColourCells | None:
    """The cells to which masks are snapped, if they are."""
    wanted = config.snap == "always" or (config.snap == "auto" and config.segmenter == EMBEDDED)
    return ColourCells(picture) if wanted else None


def by_boxes(
    picture: np.ndarray,
    boxes: np.ndarray,
    text: SceneText,
    segmenter: PromptSegmenter,
    cells: ColourCells | None = None,
) -> list[Part]:
    """The objects in boxes (N, 4) that `check_marks` let pass, in the order in which the prompt
    names them; masks snapped to `cells`."""
    logits, _ = segmenter.masks(segmenter.look(picture), Prompts(boxes=boxes)).best()
    soft = probability(logits)
    if cells is not None:
        soft = cells.snap(soft)
    parts = []
    for number, (box, mask) in enumerate(zip(boxes, soft)):
        inside = np.zeros(mask.shape, bool)
        x0, y0, x1, y1 = (round(v) for v in box)
        inside[max(y0, 0) : y1, max(x0, 0) : x1] = True
        mask = np.where(inside, mask, 0).astype(np.float32)
        if (mask > 0.5).sum() < FEWEST:
            raise InputError(
                f"shows nothing in box {number + 1}",
                "--boxes",
                "Draw the box about an object, or give --masks",
            )
        parts.append(
            Part(text.objects[number] if text.objects else "", mask, np.asarray(box, np.float64))
        )
    own = _shown(apart(copies(parts)), parts, "--boxes")
    return fill_holes(own, border_mask(picture) > 0.5, picture)


def border_mask(picture: np.ndarray) -> np.ndarray:
    """What stands out (H, W) in [0, 1] from the border of a picture (H, W, 3) of several things, a
    ball beside a house too."""
    return BorderSegmenter(share=SMALL).mask(picture)


def by_masks(masks: np.ndarray, text: SceneText) -> list[Part]:
    """The objects of masks (N, H, W) in [0, 1], in the order in which the prompt names them."""
    check_counts(len(masks), text, "--masks")
    for number, mask in enumerate(masks, 1):
        if (mask > 0.5).sum() < FEWEST:
            raise InputError(f"mask {number} is empty", "--masks", "Paint the object white")
    parts = [
        Part(text.objects[n] if text.objects else "", m.astype(np.float32), mask_box(m))
        for n, m in enumerate(masks)
    ]
    return _shown(apart(copies(parts)), parts, "--masks")


def by_itself(
    picture: np.ndarray,
    text: SceneText,
    config: DecomposeConfig,
    foreground: np.ndarray | None = None,
) -> tuple[list[Part], list[str]]:
    """The objects that the segmenter finds by itself, assigned to the prompt's phrases by CLIP on
    their crops; and notes for the user.

    Args:
        foreground: (H, W) in [0, 1] where the picture has an alpha of its own.

    Raises:
        InputError: fewer objects than the prompt names, or none.
    """
    segmenter, cells = load_segmenter(config.segmenter), cells_of(picture, config)
    plain = foreground is not None or plain_border(picture)
    if foreground is None:
        foreground = border_mask(picture) if plain else embedded_segmenter().mask(picture)
    solid = foreground > 0.5
    if not plain:
        solid = solid | before_gradient(picture, border_mask(picture) > 0.5)
    wanted = len(text.objects)
    notes: list[str] = []
    parts: list[Part] = []
    if wanted and solid.any():
        masks, scores = candidates(segmenter, picture, config.named, foreground=solid, cells=cells)
        if not plain:
            masks = [without_ground(m, solid) for m in masks]
        seen = [n for n, m in enumerate(masks) if stands_out(picture, m)]
        clip, known = load_clip(config.clip), config.clip == EMBEDDED

        def rivals(parts: list[Part]) -> list[Rivals]:
            words = edition_of(embedded_folder("clip")).vocabulary
            return rivals_of(picture, parts, clip, words)

        def holds(parts: list[Part]) -> list[bool]:
            if not known:
                return [True] * len(parts)
            return [config.holds(p, r) for p, r in zip(parts, rivals(parts), strict=True)]

        candidate = [masks[n] for n in seen], [scores[n] for n in seen]
        parts, left = told_parts(picture, solid, *candidate, text, clip, holds)
        if known:
            notes += notes_on(parts, rivals(parts), left, config)
        if left > 0.2:
            notes.append(
                f"{left:.0%} of what stands out in the picture belongs to nothing that the "
                "prompt names: left out"
            )
    elif solid.any():
        answers = everything(segmenter, picture, config.automatic, foreground=solid, cells=cells)
        parts = [
            Part("", m.astype(np.float32), mask_box(m)) for m in answers if stands_out(picture, m)
        ]
    if not parts or len(parts) < wanted:
        found = f"{len(parts)} object" + ("" if len(parts) == 1 else "s")
        names = f", the prompt names {wanted}" if wanted else ""
        raise InputError(
            f"only {found} can be found in it{names}" if parts else "no object can be found in it",
            "the picture",
            "Give a box for each object: --boxes x0,y0,x1,y1 …",
        )
    if len(parts) > MOST:
        raise InputError(
            f"{len(parts)} objects are more than the {MOST} of one scene",
            "the picture",
            "Crop it, or name fewer in the prompt",
        )
    whole = apart(parts)
    own = in_reach(copies(whole), solid)
    notes += strays(whole, own)
    for part in fill_holes(adopt(own, solid), solid, picture):
        part.box = part.visible
    return parts, notes


def strays(whole: list[Part], own: list[Part]) -> list[str]:
    """A note on every thing of which a piece was dropped that lies elsewhere in the picture."""
    notes = []
    for number, (before, after) in enumerate(zip(whole, own, strict=True), 1):
        pixels = int((before.mask > 0.5).sum())
        lost = pixels - int((after.mask > 0.5).sum())
        if lost >= FEWEST and lost >= STRAY * pixels:
            name = f'"{before.phrase}"' if before.phrase else f"object {number}"
            notes.append(f"{lost / pixels:.0%} of {name} lies apart from the rest of it: left out")
    return notes


def without_ground(mask: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without what lies outside of the foreground, most of which is shadow on
    the ground; a mask of which the foreground has missed the greater part stays as it is."""
    inside = mask & binary_dilation(foreground, iterations=max(1, round(0.006 * mask.shape[0])))
    return inside if inside.sum() > INSIDE * mask.sum() else mask


def stands_out(picture: np.ndarray, mask: np.ndarray, least: float = 0.03) -> bool:
    """Whether a mask (H, W) bool has an edge in the picture (H, W, 3) in [0, 1]: colours just
    within and just without differ by `least` in the mean. A segmenter that is asked often enough
    finds something in a plain wall too."""
    reach = max(1, round(0.012 * mask.shape[0]))
    wide, narrow = (
        binary_dilation(mask, iterations=2 * reach),
        binary_erosion(mask, iterations=reach),
    )
    inner, outer = mask & ~narrow, wide & ~mask
    if not inner.any() or not outer.any():
        return False
    return float(np.abs(picture[inner].mean(0) - picture[outer].mean(0)).mean()) >= least


def hidden_by(
    parts: list[Part],
    depth: np.ndarray,
    text: SceneText | None = None,
    reach: int = 0,
    feet: float = 0.03,
) -> list[tuple[int, int]]:
    """Pairs (front, back) of objects whose masks meet, the nearer one first.

    What the prompt says counts most: "in front of" and "behind"; what stands on another thing is
    hidden by nothing of it; and two things beside each other may meet without either hiding the
    other. Then the feet: of two things on one floor, seen from above, the one that ends lower in
    the picture is nearer; then the depth along their common border.

    Args:
        depth: (H, W), larger is farther. reach: pixels that count as meeting; 0 takes a fiftieth of
            the picture. feet: share of the picture by which lowest points must differ to tell.
    """
    height = depth.shape[0]
    reach = reach or max(1, round(0.02 * height))
    wide = [binary_dilation(p.mask > 0.5, iterations=reach) for p in parts]
    pairs = []
    for one in range(len(parts)):
        for two in range(one):
            near_one, near_two = (
                wide[two] & (parts[one].mask > 0.5),
                wide[one] & (parts[two].mask > 0.5),
            )
            if min(near_one.sum(), near_two.sum()) < 3:
                continue
            relation = text.between(one, two) if text is not None else None
            kind = relation.kind if relation is not None else ""
            lower = (parts[one].visible[3] - parts[two].visible[3]) / height
            if relation is not None and kind in ("in front of", "behind"):
                first = (relation.subject == one) == (kind == "in front of")
            elif relation is not None and kind == "on":
                # What carries a thing lies below it, and a camera that looks down sees all of it.
                first = relation.subject == one
            elif kind in ("left of", "right of") and _beside(parts[one], parts[two]):
                continue
            elif kind not in ("under", "in") and abs(lower) > feet:
                first = lower > 0
            else:
                first = float(np.median(depth[near_one])) <= float(np.median(depth[near_two]))
            pairs.append((one, two) if first else (two, one))
    return pairs


def _beside(one: Part, two: Part) -> bool:
    """Whether two things meet at their sides alone: hardly anything of either lies in the box of
    what is seen of the other."""
    for part, other in ((one, two), (two, one)):
        x0, y0, x1, y1 = (int(v) for v in part.visible)
        if float((other.mask[y0:y1, x0:x1] > 0.5).mean()) > SIDES:
            return False
    return True


def feet_seen(parts: list[Part], reach: int = 0) -> list[int]:
    """The objects whose lowest visible rows border on nothing else: where they stand is seen."""
    height = parts[0].mask.shape[0]
    reach = reach or max(1, round(0.02 * height))
    seen = []
    for number, part in enumerate(parts):
        mask = part.mask > 0.5
        y0, y1 = part.visible[1], part.visible[3]
        foot = mask.copy()
        foot[: int(y1 - max(2, 0.06 * (y1 - y0)))] = False
        below = np.zeros_like(foot)
        for step in range(1, reach + 1):
            below[step:] |= foot[:-step]
        below &= ~mask
        others = (
            np.max([p.mask for k, p in enumerate(parts) if k != number], 0) > 0.5
            if len(parts) > 1
            else np.zeros_like(mask)
        )
        if y1 < height - 1 and (below & others).sum() <= 0.25 * max(int(below.sum()), 1):
            seen.append(number)
    return seen


def grow_boxes(parts: list[Part], order: list[tuple[int, int]], share: float) -> None:
    """Grow the boxes of hidden objects over what hides them, by at most `share` of their size a
    side: what is hidden may go on there."""
    height, width = parts[0].mask.shape
    for back in range(len(parts)):
        part = parts[back]
        x0, y0, x1, y1 = part.box
        grown = part.box.copy()
        for front in (f for f, b in order if b == back):
            a, b, c, d = parts[front].visible
            room = share * np.array([x1 - x0, y1 - y0])
            if a < x0:
                grown[0] = min(grown[0], max(a, x0 - room[0]))
            if b < y0:
                grown[1] = min(grown[1], max(b, y0 - room[1]))
            if c > x1:
                grown[2] = max(grown[2], min(c, x1 + room[0]))
            if d > y1:
                grown[3] = max(grown[3], min(d, y1 + room[1]))
        part.box = grown.clip(0, [width, height, width, height])
