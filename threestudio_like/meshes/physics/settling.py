"""Where bodies come to rest: nothing penetrates, everything stands on the floor or on another body,
and nothing falls when it is let go.

Three parts, each with the contacts of the surfaces themselves. *Apart*: bodies that penetrate each
other are moved apart by as little as possible. *Down*: everything falls straight down until it
touches. *Over*: what its contacts do not hold (`balance.falling`) tilts until they do. A body that
would have to tilt by more than `SettleConfig.tilt` is moved towards the middle of what carries it,
and where that does not help it stays as it was, and that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...engine.schema.bounds import Weight
from ..transform import Transform
from .balance import FRICTION, LEAN, Fall, falling, support_margin
from .contacts import FLOOR, Contacts, find_contacts
from .solid import Pose, Solid
from .steps import middles, motion, moved

TOUCH = 3e-4
"""Gap, as a share of the smaller body, at which bodies touch."""
SIDEWAYS = 100.0
"""What a shift to the side costs while bodies fall, against one up or down: they are rough."""
CREEP, STEADY = 5e-4, 8
"""A step, as a share of the size, below which bodies creep where it is the same for so many rounds:
what leans on a steep wall would go on sliding for thousands of them, a hair each."""
_SIDES = np.array(
    [[0, 1, 0], [0, -1, 0]] + [[np.cos(k * np.pi / 4), 0, np.sin(k * np.pi / 4)] for k in range(8)]
)
"""Where a body may go that is on both sides of another one."""


@dataclass(frozen=True, kw_only=True)
class SettleConfig:
    """How a layout is settled."""

    tilt: Weight = 10.0
    """Degrees by which an object may tilt to find its feet; more, and it is said not to stand."""
    shift: Weight = 0.5
    """Share of its size by which an object may be moved towards the middle of what carries it."""
    friction: Weight = FRICTION
    """Coefficient of friction with which things have to stand."""
    lean: Weight = LEAN
    """Degrees by which the floor may lean without anything beginning to fall."""


@dataclass
class Settled:
    """poses: where the bodies came to rest. floor: the height of it. falls: names of bodies that do
    not stand. moved (N,): how far the middles went, as a share of the sizes; tilted (N,): degrees.
    penetration, floating: the largest that are left, as shares of the size; margin (N,): see
    `balance.support_margin`."""

    poses: list[Pose]
    floor: float
    falls: list[str]
    moved: np.ndarray
    tilted: np.ndarray
    penetration: float
    floating: float
    margin: np.ndarray
    shifted: dict[str, float] = field(default_factory=dict)

    def transforms(self) -> list[Transform]:
        """The poses as transforms."""
        return [p.transform() for p in self.poses]


def settle(
    solids: Sequence[Solid],
    poses: Sequence[Pose],
    floor: float | None = None,
    config: SettleConfig | None = None,
) -> Settled:
    """Settle bodies on a floor; +Y is up.

    Args:
        poses: where they are at first; upright.
        floor: its height; by default that of the lowest point of the largest body.
    """
    config = config or SettleConfig()
    level = floor_of(solids, poses) if floor is None else floor
    work = _Work(list(solids), list(poses), level, config)
    work.apart()
    work.down()
    work.over()
    for name in [solids[k].name for k in sorted(work.locked)]:
        work.towards_the_middle(name)
    return work.settled(list(poses))


def floor_of(solids: Sequence[Solid], poses: Sequence[Pose]) -> float:
    """The height on which the largest body stands."""
    sizes = [s.size * p.scale for s, p in zip(solids, poses)]
    largest = int(np.argmax(sizes))
    return float(poses[largest].apply(solids[largest].corners)[:, 1].min())


class _Paces:
    """The last largest steps of bodies."""

    def __init__(self) -> None:
        self._last: list[float] = []

    def creep(self, pace: float) -> bool:
        """Whether bodies creep, a step later."""
        self._last = [*self._last[1 - STEADY :], pace]
        low, high = min(self._last), max(self._last)
        return len(self._last) == STEADY and high < min(CREEP, 1.1 * low)


@dataclass
class _Work:
    solids: list[Solid]
    poses: list[Pose]
    floor: float
    config: SettleConfig
    locked: set[int] = field(default_factory=set)
    shifted: dict[str, float] = field(default_factory=dict)

    @property
    def sizes(self) -> np.ndarray:
        return np.array([s.size * p.scale for s, p in zip(self.solids, self.poses)])

    def metric(self, sideways: float, turning: set[int]) -> np.ndarray:
        """What motions cost: heavier bodies more; some may turn, none about the vertical."""
        sizes = self.sizes
        mass = np.sqrt(np.clip((sizes / sizes.min()) ** 3, 1, 1000))
        out = np.full((len(sizes), 6), np.inf)
        out[:, [0, 2]] = sideways * mass[:, None]
        out[:, 1] = mass
        for body in turning:
            out[body, [3, 5]] = 0.4 * mass[body] * sizes[body]
        return out

    def contacts(self, reach: float | np.ndarray) -> Contacts:
        return find_contacts(self.solids, self.poses, self.floor, reach)

    def touching(self) -> Contacts:
        return self.contacts(TOUCH * self.sizes)

    def apart(self, rounds: int = 80) -> None:
        """Move bodies apart that penetrate each other or the floor."""
        sizes = self.sizes
        none = np.zeros((len(sizes), 6))
        best, since, tried = -np.inf, 0, 0
        for _ in range(rounds):
            found = self.contacts(0.1 * sizes)
            deepest = float((found.gaps / sizes[found.one]).min(initial=0.0))
            if deepest > -1e-5:
                return
            best, since = (deepest, 0) if deepest > 0.9 * best else (best, since + 1)
            if since >= 6 and tried < 3 * len(sizes):
                # The contacts contradict each other: one body is on both sides of the other.
                self._way_out(found)
                best, since, tried = -np.inf, 0, tried + 1
                continue
            most = 0.05 * sizes
            centres = middles(self.solids, self.poses)
            step = motion(found, centres, self.metric(1.0, set()), none, most)
            self.poses = moved(self.poses, centres, step, most)

    def _way_out(self, found: Contacts) -> None:
        """Move the smaller body of the deepest contact by the least shift to one of ten sides with
        which it is clear of everything."""
        row = int(np.argmin(found.gaps))
        pair = [int(k) for k in (found.one[row], found.two[row]) if k != FLOOR]
        body = min(pair, key=lambda k: self.sizes[k])
        size, pose = self.sizes[body], self.poses[body]
        for share in np.arange(1, 41) * 0.03:
            for side in _SIDES:
                self.poses[body] = Pose(
                    pose.scale, pose.rotation, pose.translation + share * size * side
                )
                near = find_contacts(self.solids, self.poses, self.floor, 0.0, only=body)
                if near.gaps.min(initial=0.0) > -0.01 * size:
                    return
        self.poses[body] = pose

    def down(self, rounds: int = 200) -> None:
        """Let everything fall straight down until it touches."""
        sizes, paces = self.sizes, _Paces()
        for _ in range(rounds):
            fall = self._free_fall()
            found = self.contacts(2.5 * fall)
            wish = np.zeros((len(sizes), 6))
            wish[:, 1] = -fall
            centres = middles(self.solids, self.poses)
            step = motion(found, centres, self.metric(SIDEWAYS, set()), wish, fall)
            self.poses = moved(self.poses, centres, step, fall)
            pace = float((np.abs(step[:, :3]).max(1) / sizes).max())
            if pace < 1e-5 or paces.creep(pace):
                return

    def _free_fall(self) -> np.ndarray:
        """How far (N,) every body may be let fall at once: at least a hundredth of its size."""
        low = np.array([p.apply(s.corners).min(0) for s, p in zip(self.solids, self.poses)])
        high = np.array([p.apply(s.corners).max(0) for s, p in zip(self.solids, self.poses)])
        out = np.empty(len(low))
        for n in range(len(low)):
            gap = low[n, 1] - self.floor
            for k in range(len(low)):
                beside = (low[n] > high[k]) | (low[k] > high[n])
                if k != n and not beside[[0, 2]].any() and high[k, 1] < high[n, 1] + 1e-9:
                    gap = min(gap, low[n, 1] - high[k, 1])
            out[n] = max(0.5 * gap, 0.01 * self.sizes[n])
        return out

    def falls(self) -> list[Fall]:
        """The bodies that do not stand where they are."""
        return falling(
            self.solids, self.poses, self.touching(), self.config.friction, self.config.lean
        )

    def over(self) -> None:
        """Tilt what does not stand until it does; what would tilt too far stays where it was."""
        before = list(self.poses)
        while True:
            self.poses = list(before)
            if self.locked:
                self.down()
            beyond = self._tilt(before)
            if not beyond:
                return
            self.locked |= beyond

    def _tilt(self, before: list[Pose], rounds: int = 150) -> set[int]:
        """Tilt; returns those that go too far."""
        sizes, quiet = self.sizes, True
        turning: set[int] = set()
        for _ in range(rounds):
            if quiet:
                # Only what has come to rest can be asked whether it stands.
                falls = [f for f in self.falls() if f.body not in self.locked]
                if not falls:
                    return set()
                turning |= {f.body for f in falls}
                self._nudge(falls)
            centres = middles(self.solids, self.poses)
            fall = 0.01 * sizes
            found = self.contacts(3 * fall)
            wish = np.zeros((len(sizes), 6))
            wish[:, 1] = -fall
            step = motion(found, centres, self.metric(SIDEWAYS, turning), wish, fall)
            # Beyond this angle the linear contacts err by more than a thousandth.
            angle = np.linalg.norm(step[:, 3:], axis=1)
            step *= min(1.0, 0.03 / max(float(angle.max()), 1e-12))
            self.poses = moved(self.poses, centres, step, fall)
            quiet = bool((np.abs(step[:, :3]).max(1) < 2e-5 * sizes).all() and angle.max() < 5e-5)
            far = {n for n in turning if _tilt_between(before[n], self.poses[n]) > self.config.tilt}
            if far:
                return far
        return {f.body for f in self.falls()} - self.locked

    def _nudge(self, falls: list[Fall]) -> None:
        """Begin to tilt what balances on a point or an edge."""
        centres = middles(self.solids, self.poses)
        for fall in falls:
            turn = 0.01 * np.cross([0.0, 1.0, 0.0], fall.towards)
            self.poses[fall.body] = self.poses[fall.body].moved(
                centres[fall.body], np.zeros(3), turn
            )

    def towards_the_middle(self, name: str) -> None:
        """Move a body that does not stand towards the middle of the body that carries it."""
        body = next(k for k, s in enumerate(self.solids) if s.name == name)
        if body not in self.locked:
            return
        carried = self._carrier(body)
        if carried is None:
            return
        size, start, locked = self.sizes[body], list(self.poses), set(self.locked)
        centres = middles(self.solids, self.poses)
        off = (centres[carried] - centres[body]) * [1, 0, 1]
        length = float(np.linalg.norm(off))
        for share in (0.1, 0.2, 0.35, 0.5):
            step = min(share * size, length)
            if share > self.config.shift or length < 1e-9:
                break
            self.poses, self.locked = list(start), locked - {body}
            pose = self.poses[body]
            self.poses[body] = Pose(
                pose.scale, pose.rotation, pose.translation + off / length * step
            )
            self.apart()
            self.down()
            self.over()
            if body not in self.locked:
                self.shifted[name] = step / size
                return
        self.poses, self.locked = start, locked

    def _carrier(self, body: int) -> int | None:
        """The body that carries another; None for the floor."""
        found = self.touching()
        below = found.two[(found.one == body) & (found.normals[:, 1] > 0.2)]
        above = found.one[(found.two == body) & (found.normals[:, 1] < -0.2)]
        others = [int(k) for k in [*below, *above] if k >= 0]
        return max(set(others), key=others.count) if others else None

    def settled(self, first: list[Pose]) -> Settled:
        """What came of it."""
        sizes = self.sizes
        touching = self.contacts(0.1 * sizes)
        gaps = [
            touching.gaps[(touching.one == n) | (touching.two == n)] / sizes[n]
            for n in range(len(sizes))
        ]
        resting = self.touching()
        falls = sorted({f.body for f in self.falls()})
        shift = middles(self.solids, self.poses) - middles(self.solids, first)
        return Settled(
            self.poses,
            self.floor,
            [self.solids[k].name for k in falls],
            moved=np.linalg.norm(shift, axis=1) / sizes,
            tilted=np.array([_tilt_between(a, b) for a, b in zip(first, self.poses)]),
            penetration=max([max(0.0, -float(g.min())) for g in gaps if len(g)], default=0.0),
            floating=max([max(0.0, float(g.min())) if len(g) else 1.0 for g in gaps], default=0.0),
            margin=support_margin(self.solids, self.poses, resting),
            shifted=self.shifted,
        )


def _tilt_between(one: Pose, two: Pose) -> float:
    """The angle between two rotations, degrees."""
    cosine = (np.trace(one.rotation.T @ two.rotation) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
