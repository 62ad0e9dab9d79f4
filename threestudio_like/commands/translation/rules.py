"""How values of threestudio become ours: one function a kind of option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .reading import Document, largest
from .values import NoTranslation, number, pair, plain, stepped, timed, whole

CAMERAS = ("data.random_camera.", "data.")


Verdict = Literal["whole", "part", "none", "aside"]
"""whole: the same result but for rounding. part: with an effect that the note says. none: nothing
here does it. aside: the option has no part in the result."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of a value.

    Attributes:
        values: our dotted keys -> values; "@." stands for the stage, "--" begins an option of the
            command.
        verdict, note: where they differ from the row's.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    note: str = ""


@dataclass
class Scene:
    """What rules look at besides their value.

    Attributes:
        radius: half the edge of threestudio's cube, which is 1 here: lengths are divided by it.
        steps: of the run.
        channels: of the field's features: 3, or 4 in latent space.
        command: that the system belongs to.
    """

    document: Document
    radius: float
    steps: int
    channels: int
    command: str

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the file, or `default`."""
        return self.document.get(key, default)

    def camera(self, name: str, default: Any = None) -> Any:
        """A value of the random cameras, wherever the data module keeps them."""
        found = [
            self.get(f"{prefix}{name}") for prefix in CAMERAS if f"{prefix}{name}" in self.document
        ]
        return found[0] if found else default


Rule = Callable[[Scene, Any], Outcome]
"""What becomes of a value. Raises `values.NoTranslation` with the reason."""


def to(target: str) -> Rule:
    """The value as it is."""
    return lambda scene, value: Outcome(values={target: value})


def when(target: str, meant: Any) -> Rule:
    """A switch: on, it means a value."""
    return lambda scene, value: Outcome(values={target: meant} if value else {})


def doubled(target: str) -> Rule:
    """Half a span, as the whole."""
    return lambda scene, value: Outcome(values={target: 2 * number(value)})


def from_pole(target: str) -> Rule:
    """An elevation, as the angle from straight above."""
    return lambda scene, value: Outcome(values={target: 90 - number(value)})


def radius(target: str) -> Rule:
    """The unit of length: densities are per unit, so they grow with it."""

    def rule(scene: Scene, value: Any) -> Outcome:
        if number(value) <= 0:
            raise NoTranslation(f"{value} is no radius")
        return Outcome(values={target: number(value)})

    return rule


def scaled(target: str, power: int = -1) -> Rule:
    """A length, in units of our cube."""
    return lambda scene, value: Outcome(
        values={target: round(number(value) * scene.radius**power, 9)}
    )


def scaled_pair(target: str, power: int = -1) -> Rule:
    """Two lengths."""
    return lambda scene, value: Outcome(values={target: pair(value, scene.radius**power)})


def schedule(target: str, power: int = 0) -> Rule:
    """A number or a schedule in steps, times a power of the radius."""

    def rule(scene: Scene, value: Any) -> Outcome:
        found = timed(value, scene.steps, scene.radius**power)
        return Outcome(values={target: found.text}, note=found.note)

    return rule


def constant(target: str) -> Rule:
    """A number; of a schedule its first value."""

    def rule(scene: Scene, value: Any) -> Outcome:
        if not isinstance(value, list):
            return Outcome(values={target: number(value)})
        first = float(timed(value, scene.steps).text.partition("->")[0])
        return Outcome(values={target: first}, verdict="part", note="its first value, kept")

    return rule


def only(*arguments: Any) -> Rule:
    """One of some values, which is what happens here anyway; then why not another, and the verdict
    on another ("part", or "none" where it is left out)."""
    found = list(arguments)
    verdict: Verdict = "none"
    if found[-1] == "part":
        verdict = "part"
        found.pop()
    why = found.pop()
    return lambda scene, value: Outcome() if value in found else Outcome(verdict=verdict, note=why)


def one_of(target: str, names: dict[Any, Any], why: str) -> Rule:
    """A name, by its name here."""

    def rule(scene: Scene, value: Any) -> Outcome:
        if value not in names:
            raise NoTranslation(f'"{value}": {why}')
        return Outcome(values={target: names[value]} if target else {})

    return rule


def size(scene: Scene, value: Any) -> Outcome:
    """Height, with the milestones where it has several."""
    if not isinstance(value, list):
        return Outcome(values={"resolution": whole(value)})
    text = stepped(value, scene.camera("resolution_milestones", []), scene.steps)
    return Outcome(values={"resolution": whole(value[0]), "@.milestones.resolution": text})


def width(scene: Scene, value: Any) -> Outcome:
    """The same as the height."""
    height = scene.camera("height", 64)
    if value == height:
        return Outcome()
    return Outcome(verdict="part", note=f"renderings are square here: the height {height} is taken")


def batch(scene: Scene, value: Any) -> Outcome:
    """Views a step, with the milestones where it changes."""
    if not isinstance(value, list):
        return Outcome(values={"@.uniform.batch": whole(value)})
    text = stepped(value, scene.camera("resolution_milestones", []), scene.steps)
    return Outcome(values={"@.uniform.batch": whole(value[0]), "@.milestones.batch": text})


def elevation(scene: Scene, value: Any) -> Outcome:
    """A range, drawn as threestudio draws it."""
    return Outcome(
        values={
            "@.uniform.elevation": pair(value),
            "@.uniform.elevation_sampling": "mixed",
            "@.cameras": "uniform",
        }
    )


def bias(scene: Scene, value: Any) -> Outcome:
    """What is added to the raw density."""
    if value in ("blob_magic3d", "blob_dreamfusion"):
        return Outcome(values={"representation.hash.density_bias": value})
    if isinstance(value, (int, float)) and value == 0:
        return Outcome(values={"representation.hash.density_bias": "none"})
    raise NoTranslation(f"{value}: a hash grid begins with a blob here, or with nothing")


def finest(scene: Scene, value: Any) -> Outcome:
    """The finest resolution of a grid whose levels grow by a factor."""
    group = "system.geometry.pos_encoding_config."
    levels = whole(scene.get(f"{group}n_levels", 16))
    base = whole(scene.get(f"{group}base_resolution", 16))
    edge = round(base * number(value) ** (levels - 1))
    return Outcome(values={"representation.hash.finest": edge})


def opening(scene: Scene, value: Any) -> Outcome:
    """Levels that open in turn: start_level, start_step and update_steps together."""
    group = "system.geometry.pos_encoding_config."
    levels = whole(scene.get(f"{group}n_levels", 16))
    first, begin = whole(value), whole(scene.get(f"{group}start_step", 0))
    end = begin + (levels - first) * whole(scene.get(f"{group}update_steps", 1))
    low, high = (plain(100.0 * at / scene.steps) for at in (begin, end))
    text = str(levels) if end == begin else f"{first}->{levels} @ {low}..{high}%"
    return Outcome(values={"representation.hash.open_levels": text})


def layers(scene: Scene, value: Any) -> Outcome:
    """Hidden layers; ours counts the last one too."""
    return Outcome(values={"representation.hash.layers": whole(value) + 1})


def moving(scene: Scene, value: Any) -> Outcome:
    """Whether the given mesh's vertices move."""
    return Outcome(values={"offsets": not value}, verdict="aside" if value else None)


def random_colour(scene: Scene, value: Any) -> Outcome:
    """How often a random colour takes the background's place."""
    share = scene.get("system.background.random_aug_prob", 0.5) if value else 0.0
    return Outcome(values={"random_aug_prob": number(share)})


def smooth_3d(scene: Scene, value: Any) -> Outcome:
    """Normals against those of points a hundredth of a unit away."""
    target = "@.regularise.normal_smooth_3d"
    found = schedule(target)(scene, value)
    reach = {"@.regularise.normal_reach": plain(0.01 / scene.radius)}
    return Outcome(values={**found.values, **reach}, note=found.note)


def features(scene: Scene, value: Any) -> Outcome:
    """Channels of the field."""
    if value == scene.channels:
        return Outcome()
    if value == 0:
        return Outcome(verdict="aside", note="nothing looks at colours")
    return Outcome(
        verdict="part" if scene.command == "texture" else "none",
        note=f"the field has {scene.channels} features here",
    )


def activation(scene: Scene, value: Any) -> Outcome:
    """What colours go through."""
    latent = scene.channels == 4 or scene.command == "refine"
    if scene.command == "texture" or value in (("none", None) if latent else ("sigmoid",)):
        return Outcome()
    return Outcome(
        verdict="part", note="colours go through a sigmoid here, latents and refined ones do not"
    )


def normals(scene: Scene, value: Any) -> Outcome:
    """How normals are made."""
    target = "renderer.normal_type"
    if value == "finite_difference":
        return Outcome(values={target: "finite_difference"})
    if value is None:
        return Outcome()
    if value == "analytic":
        return Outcome(
            values={target: "central"},
            verdict="part",
            note="central differences, six densities a sample: the same direction, smoothed over "
            "finite_difference_normal_eps",
        )
    if value == "finite_difference_laplacian":
        return Outcome(values={target: "central"})
    return Outcome(
        values={target: "central"}, verdict="part", note=f'"{value}": of differences instead'
    )


def samples(scene: Scene, value: Any) -> Outcome:
    """The step along rays, and what is known to be empty."""
    group = "system.renderer."
    count, note = whole(value), ""
    if scene.get(f"{group}estimator", "occgrid") != "occgrid":
        count = 512
        note = "even steps of an occupancy grid, as with 512 samples, in place of importance"
    # threestudio's cube has a diagonal of 2 sqrt(3) radii, which `count` steps cross.
    ours = round(count / 1.732)
    pruned = scene.get(f"{group}grid_prune", True)
    thin = scene.get(f"{group}prune_alpha_threshold", True) and pruned
    return Outcome(
        values={
            "renderer.samples": ours,
            "renderer.occupancy": 32,
            "renderer.refresh": 16,
            "renderer.decay": 0.95,
            "renderer.threshold": round(0.01 * ours / 2, 6) if pruned else 0.0,
            "renderer.floor": 0.0,
            "renderer.alpha_threshold": 0.01 if thin else 0.0,
            "renderer.pixel_jitter": False,
            "renderer.radius": 2.0,
        },
        verdict="part" if note else None,
        note=note,
    )


def ambient_only(scene: Scene, value: Any) -> Outcome:
    """Steps of albedo alone, as a share of the run."""
    return Outcome(
        values={"@.shading.ambient_only": min(1.0, round(number(value) / scene.steps, 9))}
    )


def zero(why: str) -> Rule:
    """A weight that is 0 says nothing; any other is lost, and `why`."""

    def rule(scene: Scene, value: Any) -> Outcome:
        if value is None or not largest(value):
            return Outcome(note="it is 0")
        return Outcome(verdict="none", note=why)

    return rule


def off(why: str) -> Rule:
    """A switch that is off says nothing; on, nothing here does it."""

    def rule(scene: Scene, value: Any) -> Outcome:
        return Outcome(verdict="none", note=why) if value else Outcome()

    return rule


def square_grid(scene: Scene, value: Any) -> Outcome:
    """The size of a grid of voxels."""
    edges = {whole(edge) for edge in value}
    if len(edges) != 1:
        raise NoTranslation(f"{value}: grids are cubes here")
    return Outcome(
        values={
            "representation.kind": "voxels",
            "representation.voxels.size": edges.pop(),
            "representation.voxels.smooth": 0.0,
        }
    )


def alone(rule: Rule) -> Callable[[], Rule]:
    """A rule without arguments, as options.yaml asks for one."""
    return lambda: rule


RULES: dict[str, Callable[..., Rule]] = {
    **{f.__name__: f for f in (to, when, doubled, from_pole, radius, scaled, scaled_pair)},
    **{f.__name__: f for f in (schedule, constant, only, one_of, zero, off)},
    **{f.__name__: alone(f) for f in (size, width, batch, elevation, bias, finest, opening)},
    **{f.__name__: alone(f) for f in (layers, moving, random_colour, smooth_3d, features)},
    "activation": alone(activation),
    **{f.__name__: alone(f) for f in (normals, samples, ambient_only, square_grid)},
}
"""Rules of scenes by the names that options.yaml has for them."""
