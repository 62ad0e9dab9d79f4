"""`--print-config`: the configuration that a command would use, as YAML that can be fed back."""

from __future__ import annotations

from typing import Any

from ...engine.config import to_dict, write_yaml
from ...kernels.devices import MAIN
from ...runs.configure import configure, export_config
from ...systems import registry


def print_configuration(options: Any, verb: str, prompt: str) -> None:
    """Print the configuration of the preset that the run would use. Raises ConfigError,
    ModelError."""
    system = getattr(options, "system", "comboverse")
    preset = options.method.preset
    if preset == "auto":
        preset = preset_for(options, verb)
    config = configure(options, registry.configuration(system, preset, verb))
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


def preset_for(options: Any, verb: str) -> str:
    """What the preset "auto" means for the options' prior, without loading its weights."""
    from ...priors.registry import EMBEDDED

    if verb in ("reconstruct", "compose") or options.model.prior == EMBEDDED:
        return "default"
    from ...runs.prior import load_prior

    system = getattr(options, "system", "comboverse")
    return registry.preset_for(system, "auto", load_prior(options.model, MAIN))
