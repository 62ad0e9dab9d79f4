"""What a batch asks of the commands (`batch.items.Work`): carry an item out, rank it, say what it
takes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import InputError, ModelError, UserError
from ...engine.events import read_events
from ...engine.output import own_folder, write_file
from ...engine.registry import plugin_files, read_plugin_file, read_plugin_files
from ...engine.text import json_text
from ...priors.personal.choice import PersonalParts
from ...runs.batch.items import Made, Spec
from ...runs.options import flat, regroup
from ...runs.written import written_options
from ..registry import carry_out
from .batch_options import options_from

if TYPE_CHECKING:
    from ...runs.prior import PriorPool


class CommandWork:
    """Carries items out by the commands. It is sent to other processes as it is; what it loads
    stays with the process.

    Args:
        plugins: files that this process has read already, by their digests.
    """

    def __init__(self, plugins: Mapping[str, Path] | None = None) -> None:
        self._read = {digest: str(path) for digest, path in (plugins or {}).items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"_read": {}}

    @cached_property
    def priors(self) -> PriorPool:
        """The priors that this process keeps loaded."""
        from ...runs.prior import PriorPool

        return PriorPool(most=1)

    def prepare(self) -> None:
        """See `batch.items.Work`: torch, and what every command has."""
        from . import generate  # noqa: F401

    def execute(self, spec: Spec, folder: Path, inputs: Mapping[str, Path]) -> Made:
        """See `batch.items.Work`."""
        from ...runs.delivery import RunResult
        from ...runs.prior import shared_priors
        from .generate import FOG

        self._read_plugins(spec, inputs)
        options = options_from(spec.command, spec.values, spec.set, inputs)
        known = flat(options)
        own = {"out": folder, "quiet": True, "threads": spec.threads}
        if "keep" in known and "keep" not in spec.values:
            own["keep"] = "nothing"
        options = regroup(options, {k: v for k, v in own.items() if k in known})
        own_folder(folder)
        printed = io.StringIO()
        with (
            shared_priors(self.priors),
            contextlib.redirect_stdout(printed),
            written_options(type(options), spec.values),
        ):
            result = carry_out(spec.command, options)
        figures: dict[str, Any] = {}
        verdict = "ok"
        if isinstance(result, RunResult):
            figures = dict(result.figures)
            verdict = "ok" if result.verdict.passed else "bad"
            # No item has an exit code: the word is what --strict can say.
            verdict = result.fit if result.failed else verdict
        elif isinstance(result, Mapping):
            figures = _without_places(dict(result), inputs)
            write_file(folder / "figures.json", json_text(figures, indent=1).encode(), force=True)
        if _watchdog(folder):
            verdict = "watchdog"
        elif isinstance(figures.get("fog"), float) and figures["fog"] > FOG:
            verdict = "fog"
        return Made(figures=figures, verdict=verdict, loads=self.priors.loads)

    def judge(self, spec: Spec, folder: Path) -> dict[str, float]:
        """See `batch.items.Work`: CLIP with the prompt, consistency, silhouettes, the watchdog."""
        from ...meshes.mesh import Asset
        from ...metrics.judge_free import measure

        figures = {"watchdog": 1.0 if _watchdog(folder) else 0.0}
        path = folder / "asset.glb"
        if path.is_file():
            figures.update(measure(Asset.load(path), str(spec.values.get("prompt", ""))))
        return figures

    def steps(self, spec: Spec) -> int | None:
        """See `batch.items.Work`."""
        if "steps" in spec.values:
            return int(spec.values["steps"])
        system = self._system(spec)
        if system is None:
            return None
        from ...runs.configure import distilling
        from ...systems import registry

        preset = str(spec.values.get("preset", "default"))
        try:
            config = registry.configuration(system, preset)
        except UserError:
            return None
        total = sum(stage.steps for stage in distilling(config).values())
        return total or None

    def with_steps(self, spec: Spec, steps: int) -> Spec:
        """See `batch.items.Work`."""
        return replace(spec, values={**spec.values, "steps": steps})

    def kind(self, spec: Spec) -> str:
        """See `batch.items.Work`."""
        words = [spec.command, self._system(spec), spec.values.get("prior")]
        words += [f"{spec.values['resolution']} px" if "resolution" in spec.values else None]
        words += [spec.values.get("device")]
        return " ".join(_word(w) for w in words if w)

    def affinity(self, spec: Spec) -> str:
        """What a worker has to load for an item: the prior, with all that decides how it is
        loaded."""
        names = (
            "prior",
            "dtype",
            "concept",
            *(f.name for f in fields(PersonalParts)),
            "embeddings",
            "device",
            "memory",
            "compile",
            "offload",
        )
        chosen = {k: spec.values[k] for k in names if k in spec.values}
        chosen.update({k: v for k, v in spec.set.items() if k.startswith("load.")})
        if not self._system(spec):
            return spec.command
        head = _word(chosen.pop("prior", "toybox"))
        if not chosen:
            return head
        text = json.dumps(chosen, sort_keys=True)
        return f"{head} {hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def memory(self, spec: Spec) -> int | None:
        """See `batch.items.Work`: the budget of the item's --memory, or a rehearsal's forecast."""
        from ...kernels.devices import MAIN, settle
        from ...runs.memory_budget import PLANS, budget, forecast
        from ...stages.demand import demands
        from ...systems import registry

        if spec.values.get("memory"):
            return budget(spec.values["memory"])
        system = self._system(spec)
        if system is None or any(isinstance(v, (dict, list)) for v in spec.values.values()):
            # What depends on the item's own files is not rehearsed.
            return None
        options = options_from(spec.command, spec.values, spec.set, {})
        try:
            prior = self.priors.load(
                options.model, settle(options.run.device or MAIN), {}, memory=""
            )
            config = registry.configuration(system, registry.preset_for(system, "auto", prior))
            wanted = demands(config, prior)
            return forecast(PLANS[0], wanted, prior).peak if wanted else None
        except ModelError:
            return None

    def _system(self, spec: Spec) -> str | None:
        default = {"generate": "latent-nerf", "texture": "latent-paint", "compose": "comboverse"}
        if spec.command not in (*default, "reconstruct", "refine"):
            return None
        return spec.values.get("system") or default.get(spec.command) or spec.command

    def _read_plugins(self, spec: Spec, inputs: Mapping[str, Path]) -> None:
        read_plugin_files()
        for digest in spec.plugins:
            if digest in self._read:
                continue
            files = sorted(p for p in inputs[digest].iterdir() if p.suffix == ".py")
            if not files:
                raise InputError("holds no Python file", f"plug-in {digest}")
            content = files[0].read_bytes()
            # The environment may have named the same file under its own path.
            if not any(Path(p).read_bytes() == content for p in plugin_files()):
                read_plugin_file(files[0])
            self._read[digest] = str(files[0])


def _word(value: Any) -> str:
    return str(value["name"]) if isinstance(value, Mapping) else str(value)


def _watchdog(folder: Path) -> bool:
    events = read_events(folder / "events.jsonl")
    return any(event.get("event") == "watchdog" for event in events)


def _without_places(figures: dict[str, Any], inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Figures that name a file, by its name alone: where a worker had it says nothing."""
    folders = [str(path) for path in inputs.values()]
    return {
        k: Path(v).name if isinstance(v, str) and any(v.startswith(f) for f in folders) else v
        for k, v in figures.items()
    }
