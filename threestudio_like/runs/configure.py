"""A method's configuration from its preset, a file, dotted options and short ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..engine.config import dotted, from_dict, parse_yaml, section, set_dotted, to_dict, update
from ..engine.errors import CheckpointError, ConfigError
from ..engine.events import Events
from ..engine.schema.bounds import shown
from ..engine.schema.former import former_lines
from ..engine.schema.yaml_text import read_text
from ..guidance.choice import guide_stages
from ..meshes.surface.extraction import ExtractionConfig
from ..stages.distilling import DistillingConfig
from ..stages.field_to_mesh import AssetConfig
from ..stages.idle_values import idle_values
from ..stages.mesh.config import REFINE_STEPS
from .record import CHECKSUM, RunRecord, is_as_written

Config = TypeVar("Config")
ELSEWHERE = ("load", "export")
"""Groups of dotted options that are no part of a method's configuration."""
TOP_LEVEL = {
    *("format", CHECKSUM, "command", "verb", "options", "config", "export", "threads"),
    *("prompt", "system", "preset", "prior", "seed", "method", "parts", "concepts", "control"),
    *("contents", "meshes content", "prior object"),
    *("picture", "picture content", "box", "segmenter", "mask content", "fov", "elevation"),
    *("mesh", "mesh content", "frame", "unwrap", "lock", "lock_parts", "maps", "variants"),
    *("source", "source record", "boxes", "objects", "spatial words", "poses", "poses content"),
}
"""Keys beside `config`: what run.yaml says of the commands of the package, see `Run.describe`."""


def configure(options: Any, base: Config, events: Events | None = None) -> Config:
    """`base` with the values of --config, then of the dotted options, then of the short ones.

    Args:
        options: a command's options with a `method` group and dotted values in `set`.
        events: are told which keys of the file are of an earlier version.

    Raises:
        ConfigError, InputError: a key, a value or a file that does not fit.
    """
    config: Any = base
    method, of_file = options.method, []
    if method.config is not None:
        path = str(method.config)
        values = _configuration_of(method.config, events)
        config = update(config, values, path)
        before = dotted(base)
        of_file = [k for k, v in dotted(config).items() if not _same(before.get(k), v)]
        if events is not None:
            say_former(events, config, values)
    everywhere = {k: v for k, v in options.set.items() if k.startswith("guidance.")}
    for key, value in options.set.items():
        if key.split(".")[0] not in ELSEWHERE and key not in everywhere:
            config = set_dotted(config, key, value)
    main = getattr(options, "guidance", "")
    if main or everywhere:
        guided = guide_stages(config, guidances_of(main, everywhere))
        first = f"--guidance {main}" if main else f"--{next(iter(everywhere))}"
        config = _beside_given(config, guided, first, options.set)
    if getattr(options, "refine_mesh", False):
        config = _beside_given(config, with_mesh(config), "--refine-mesh", options.set)
    if method.steps is not None:
        few = with_steps(config, method.steps, options.set)
        config = _beside_given(config, few, f"--steps {method.steps}", options.set)
    if method.resolution is not None:
        small = with_resolution(config, method.resolution, options.set, events)
        config = _beside_given(config, small, f"--resolution {method.resolution}", options.set)
    if getattr(options, "sketch", None) is not None:
        config = _beside_given(config, _with_sketch(config, options), "--sketch", options.set)
    if method.negative:
        said = config
        for key in [k for k in dotted(config) if k.endswith("prompt.negative")]:
            said = set_dotted(said, key, method.negative)
        config = _beside_given(config, said, "--negative", options.set)
    if events is not None:
        written = [*of_file, *(k for k in options.set if k.split(".")[0] not in ELSEWHERE)]
        for line in idle_values(config, dict.fromkeys(written)):
            events.say(f"Warning: {line}.")
    return config


def _same(one: Any, two: Any) -> bool:
    """Whether values are the same but for how a number is written."""
    try:
        return one == two or float(one) == float(two)
    except (TypeError, ValueError):
        return False


def with_steps(config: Any, steps: int, given: Mapping[str, str]) -> Any:
    """The configuration with `steps` of distillation in all: stages whose own are `given` keep
    them, and the others share what is left. Raises ConfigError where that does not go up."""
    stages = distilling(config)
    own = {name: stage for name, stage in stages.items() if f"{name}.steps" in given}
    if not own:
        return config.with_steps(steps)
    left, others = steps - sum(stage.steps for stage in own.values()), len(stages) - len(own)
    if left < others or (left and not others):
        said = ", ".join(f"--{name}.steps {stage.steps}" for name, stage in own.items())
        raise ConfigError(
            f"does not go with {said}: {max(left, 0)} are left for {others} other stages",
            f"--steps {steps}",
            "Leave one of them out",
        )
    if others:
        without = replace(config, **{n: replace(stage, steps=0) for n, stage in own.items()})
        config = replace(without.with_steps(left), **own)
    return config


def _beside_given(before: Any, after: Any, short: str, given: Mapping[str, str]) -> Any:
    """The configuration `after` a short option. Raises ConfigError where that has replaced a value
    that is given by its dotted name."""
    old, new = dotted(before), dotted(after)
    for key in given:
        if old.get(key) != new.get(key):
            raise ConfigError(
                f'would make --{key} "{shown(new.get(key))}", and "{given[key]}" is asked for',
                short,
                "Leave one of the two out",
            )
    return after


def with_mesh(config: Any) -> Any:
    """The configuration with its mesh stage switched on (--refine-mesh). Raises ConfigError where
    it has none."""
    mesh = getattr(config, "mesh", None)
    if mesh is None:
        raise ConfigError("this method has no mesh stage", "--refine-mesh", "Leave it out")
    return replace(config, mesh=replace(mesh, steps=mesh.steps or REFINE_STEPS))


def with_resolution(
    config: Any, resolution: int, given: Mapping[str, str], events: Events | None = None
) -> Any:
    """The configuration with renderings of `resolution` pixels from beginning to end: milestones
    of the preset, which would go before it, are off, and `events` are told so; those that are
    `given` as dotted options stay."""
    config = config.with_resolution(resolution)
    for key, value in dotted(config).items():
        if key.endswith("milestones.resolution") and key not in given and value != "0":
            config = set_dotted(config, key, "0")
            if events is not None:
                events.say(f'--resolution {resolution} goes before --{key} "{value}".')
    return config


def guidances_of(main: str, values: dict[str, str]) -> dict[str, Any]:
    """What --guidance mine and --guidance.clip.weight 0.1 mean for every stage: a nested
    dictionary, see `guidance.choice.guide_stages`."""
    nested: dict[str, Any] = {"main": main} if main else {}
    for key, text in values.items():
        inner = nested
        _, *groups, last = key.split(".")
        for name in groups:
            inner = inner.setdefault(name, {})
        inner[last] = text
    return nested


def distilling(config: Any) -> dict[str, DistillingConfig]:
    """The stages of a configuration that distil, by name."""
    stages = {f.name: getattr(config, f.name) for f in fields(config)}
    return {k: v for k, v in stages.items() if isinstance(v, DistillingConfig) and v.steps > 0}


def _configuration_of(path: Path, events: Events | None) -> dict[str, Any]:
    """The values under `config` of a file; of a run's own run.yaml, which may be of a plug-in's
    command, whatever else stands there is let be. Raises InputError, ConfigError."""
    text = read_text(path)
    content, whole = parse_yaml(text, str(path)), is_as_written(text)
    if events is not None and not whole:
        events.say(
            f"{path} is not as the run wrote it (cut off, or changed by hand): values that it does "
            "not have are the preset's."
        )
    return section(content, content if whole and CHECKSUM in content else TOP_LEVEL, str(path))


def _with_sketch(config: Any, options: Any) -> Any:
    from ..guidance.sketch_files import load_sketch

    sketch = getattr(config, "sketch", None)
    if sketch is None:
        raise ConfigError(
            f'the system "{options.system}" follows no sketch',
            "--sketch",
            "Use --system latent-nerf",
        )
    load_sketch(options.sketch)
    strictness = sketch.strictness if options.strictness is None else options.strictness
    return replace(config, sketch=replace(sketch, path=str(options.sketch), strictness=strictness))


def export_config(options: Any, surface: ExtractionConfig | None = None) -> AssetConfig:
    """How the asset is made: --texture and --faces, and the dotted values of --export.…, on the
    method's own `surface` where it has one. Raises ConfigError."""
    from .quality import quality_of

    quality, surface = quality_of(options), surface or ExtractionConfig()
    if quality.grid != 1:
        surface = replace(surface, size=round(quality.grid * surface.size))
    if options.asset.faces is not None:
        surface = replace(surface, faces=options.asset.faces)
    texture = quality.texture if options.asset.texture is None else options.asset.texture
    config = AssetConfig(texture=texture, extraction=surface)
    for key, value in part_of(options, "export").items():
        config = set_dotted(config, key, value)
    return config


def part_of(options: Any, group: str) -> dict[str, Any]:
    """The dotted options of a group that is no part of the method ("load", "export")."""
    prefix = f"{group}."
    return {k[len(prefix) :]: v for k, v in options.set.items() if k.startswith(prefix)}


def check_as_begun(config: Any, options: Any, base: Any, folder: Path) -> None:
    """Raise CheckpointError where a configuration that was made in Python is not that of the run
    which goes on; numbers of steps are left out, a run may get more.

    Args:
        config: of the run. base: the one that was made, with what the options change of it
            (`with_quality`, ...).
    """
    asked = configure(options, base)
    export = getattr(asked, "exported", None)
    if export is not None:
        # Methods that begin with a picture write down the surface that the export asks for.
        asked = export(export_config(options, asked.surface), options.asset.faces)
    had, wanted = dotted(config), dotted(asked)
    keys = (k for k in {**had, **wanted} if k.rpartition(".")[2] != "steps")
    differing = sorted(k for k in keys if had.get(k) != wanted.get(k))
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise CheckpointError(
            f"the folder holds another run (different: {', '.join(differing[:4])}{more})",
            f"{folder}, system",
            "Give the configuration that it was begun with, or another folder",
        )


def extended(config: Config, saved: RunRecord, options: Any) -> Config:
    """The configuration of a run that goes on, with more steps where --steps asks for more than it
    had. Raises CheckpointError where it asks for fewer."""
    wanted = options.method.steps
    known = flat_saved(saved).get("steps")
    if wanted is None or wanted == known:
        return config
    stages = distilling(config)
    present = sum(stage.steps for stage in stages.values())
    if wanted < present:
        raise CheckpointError(
            f"the run has {present} steps", f"--steps {wanted}", "Ask for more, or leave it out"
        )
    if not stages:
        raise CheckpointError("this method has no steps of distillation", f"--steps {wanted}")
    name, last = list(stages.items())[-1]
    longer = replace(last, steps=last.steps + wanted - present)
    changed: Any = replace(config, **{name: longer})  # type: ignore[type-var]
    return changed


def flat_saved(saved: RunRecord) -> dict[str, Any]:
    """The options in a run.yaml by their names, without their groups."""
    values: dict[str, Any] = {}
    for key, value in saved.options.items():
        values.update(
            value if key in ("method", "model", "asset", "known", "views", "run") else {key: value}
        )
    return values


def say_former(events: Events, config: Any, values: Mapping[str, Any]) -> None:
    """Say which keys of a configuration's values are of an earlier version, and how they are
    read."""
    for line in former_lines(config, values):
        events.say(line)


def identity_reader(kind: type) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What the identity in a checkpoint of any version is in this one, by the class of its
    configuration: keys that came later have their defaults, former ones what they mean now."""

    def read(identity: dict[str, Any]) -> dict[str, Any]:
        config = identity.get("config")
        if not isinstance(config, dict):
            return identity
        try:
            now = to_dict(from_dict(kind, config))
        except ConfigError:
            return identity
        return {**identity, "config": without_steps(now)}

    return read


def without_steps(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as plain values without its numbers of steps."""
    return {
        k: without_steps(v) if isinstance(v, dict) else v for k, v in config.items() if k != "steps"
    }
