"""`--print-config`: the configuration that a command would use, as YAML that can be fed back."""

from __future__ import annotations

from typing import Any

from ...engine.config import to_dict, write_yaml
from ...engine.events import Events
from ...kernels.devices import MAIN
from ...priors.diffusion import DiffusionPrior
from ...runs.configure import configure, export_config, part_of
from ...runs.prior import fit_guidance, load_prior, read_prompt
from ...runs.quality import with_quality
from ...systems import registry


def print_configuration(options: Any, verb: str, prompt: str) -> None:
    """Print the configuration of the preset that the run would use. Raises ConfigError,
    ModelError."""
    system = getattr(options, "system", "comboverse")
    preset, prior = options.method.preset, prior_of(options, verb)
    if preset == "auto":
        preset = "default" if prior is None else registry.preset_for(system, "auto", prior)
    base = registry.configuration(system, preset, verb)
    if prior is not None:
        base = fit_guidance(base, prior, Events(None, "quiet"))
        read_prompt(prior, prompt, Events(None, "quiet"))
    quality: Any = getattr(options, "quality", "standard")
    if quality != "standard" and verb in ("generate", "texture"):
        prior = prior or load_prior(options.model, MAIN, part_of(options, "load"))
        base = with_quality(base, quality, prior, Events(None, "quiet"))
    config = configure(options, base)
    print_yaml(config, options, preset, facts={"prompt": prompt, "system": system})


def print_yaml(config: Any, options: Any, preset: str, facts: dict[str, Any] | None = None) -> None:
    """Print a configuration with the facts that a run.yaml has."""
    content = {
        **(facts or {}),
        "preset": preset,
        "prior": options.model.prior,
        "seed": options.run.seed,
        "config": to_dict(config),
        "export": to_dict(export_config(options)),
    }
    print(write_yaml(content), end="")


def prior_of(options: Any, verb: str) -> DiffusionPrior | None:
    """The prior that decides over preset and guidance; None where it is the embedded one, or the
    command asks none."""
    from ...priors.registry import EMBEDDED

    if verb == "compose" or options.model.prior == EMBEDDED:
        return None
    if verb == "reconstruct":
        asked = options.method.preset
        preset = "default" if asked == "auto" else asked
        if not registry.configuration(options.system, preset, verb).wants_prior:
            return None
    from ...runs.prior import check_use

    prior = load_prior(options.model, MAIN, part_of(options, "load"))
    return check_use(prior, verb, Events(None, "quiet"))
