"""How values of threestudio's guidances and priors become ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from .optimiser import ADAM
from .rules import Outcome, Rule, Scene, alone, constant
from .values import NoTranslation, number, plain, timed, whole

DROPPED = 0.1
"""How often threestudio's copy is trained without the camera."""


def prior(scene: Scene, value: Any) -> Outcome:
    """A model's name: ours where one of its mirrors is meant."""
    from ...priors.registry import MODELS

    for name, entry in MODELS.items():
        if value in entry.mirrors:
            return Outcome(values={"--prior": name})
    if not value:
        raise NoTranslation("no model is named")
    return Outcome(values={"--prior": value})


def view_prior(value: Any) -> str:
    """The name here of a prior that sees the picture: by the file of threestudio's, or a mirror;
    empty where there is none."""
    from ...priors.loading import PRIORS
    from ...priors.registry import MODELS

    name = PurePosixPath(str(value)).stem.replace("_", "-").lower()
    if "zero123" in name and (name in MODELS or name in PRIORS):
        return name
    found = (n for n, entry in MODELS.items() if "zero123" in n and value in entry.mirrors)
    return next(found, "")


def seen_prior(scene: Scene, value: Any) -> Outcome:
    """A model that sees the picture, by its name here."""
    return Outcome(values={"--prior": view_prior(value)})


def guidance_scale(plus_one: bool) -> Rule:
    """Classifier-free guidance: eps_c + s (eps_c - eps_u) has the scale s + 1 here."""

    def rule(scene: Scene, value: Any) -> Outcome:
        perp_neg = bool(scene.get("system.prompt_processor.use_perp_neg", False))
        s = number(value) + (1.0 if plus_one and not perp_neg else 0.0)
        note = "threestudio's s is ours at s + 1" if plus_one and not perp_neg else ""
        return Outcome(values={"@.guidance.scale": s}, note=note)

    return rule


def noise(end: str) -> Rule:
    """The range of noise times; with sqrt_anneal one time, which falls along a square root."""

    def rule(scene: Scene, value: Any) -> Outcome:
        group = "system.guidance."
        if not scene.get(f"{group}sqrt_anneal", False):
            found = timed(value, scene.steps)
            return Outcome(values={f"@.guidance.t_{end}": found.text}, note=found.note)
        high, low = (
            scene.get(f"{group}max_step_percent", 0.98),
            scene.get(f"{group}min_step_percent", 0.02),
        )
        if isinstance(low, list):
            raise NoTranslation("a schedule of the smallest time below a square root")
        high = number(high[1] if isinstance(high, list) else high)
        total = whole(scene.get(f"{group}trainer_max_steps", 25000))
        text = (
            f"sqrt {plain(high)}->{plain(number(low))} @ 0..{plain(100.0 * total / scene.steps)}%"
        )
        return Outcome(values={f"@.guidance.t_{end}": text}, note=f"sqrt_anneal over {total} steps")

    return rule


def clip(scene: Scene, value: Any) -> Outcome:
    """Element-wise limits of the gradient."""
    if value is None:
        return Outcome()
    found = timed(value, scene.steps)
    return Outcome(values={"@.guidance.grad_clip": found.text}, note=found.note)


def image_loss(latents: str) -> Rule:
    """The weight of the loss on pictures, in units of that on latents."""

    def rule(scene: Scene, value: Any) -> Outcome:
        main = scene.get(f"system.loss.{latents}", 1.0)
        if isinstance(value, list) or isinstance(main, list):
            raise NoTranslation("the ratio of two schedules")
        if not number(value):
            return Outcome()
        if not number(main):
            raise NoTranslation(f"beside a {latents} of 0")
        return Outcome(values={"@.guidance.image_loss": round(number(value) / number(main), 9)})

    return rule


def perp_neg(scene: Scene, value: Any) -> Outcome:
    """Perp-Neg with prompts between the directions."""
    if not value:
        return Outcome()
    return Outcome(values={"@.guidance.perp_neg": 1.0, "@.guidance.prompt.interpolate": True})


def second_prior(scene: Scene, value: Any) -> Outcome:
    """A model that sees the picture, beside the run's own: by its name here, or as a hub id."""
    if not value:
        raise NoTranslation("no model is named")
    return Outcome(values={"@.guidances.second-prior.prior": view_prior(value) or str(value)})


def second_clip(scene: Scene, value: Any) -> Outcome:
    """Its element-wise limits of the gradient."""
    if value is None:
        return Outcome()
    found = timed(value, scene.steps)
    return Outcome(
        values={"@.guidances.second-prior.distil.grad_clip": found.text}, note=found.note
    )


def mask_weight(scene: Scene, value: Any) -> Outcome:
    """The weight of the silhouette; Magic123's is a cross-entropy."""
    found = constant("terms.mask")(scene, value)
    if scene.get("system_type") != "magic123-system":
        return found
    note = "squared differences of the opacity and the mask, not their cross-entropy"
    return Outcome(values=found.values, verdict="part", note=note)


def copied_model(scene: Scene, value: Any) -> Outcome:
    """The model whose copy learns the renderings, where it is another than the prior."""
    if not value or value == scene.get("system.guidance.pretrained_model_name_or_path"):
        return Outcome(values={"@.guidance.model": ""})
    found = prior(scene, value).values["--prior"]
    return Outcome(values={"@.guidance.model": found})


def drops_camera(scene: Scene, value: Any) -> Outcome:
    """Whether the copy is trained without its camera in a tenth of the steps."""
    return Outcome(values={"@.guidance.drop_camera": DROPPED if value else 0.0})


def copy_weight(main: str) -> Rule:
    """The weight of the copy's own loss, in units of that of the guidance."""

    def rule(scene: Scene, value: Any) -> Outcome:
        of = scene.get(f"system.loss.{main}", 1.0)
        if isinstance(value, list) or isinstance(of, list) or not number(of):
            raise NoTranslation(f"in units of {main} {of}")
        return Outcome(values={"@.guidance.train_weight": round(number(value) / number(of), 9)})

    return rule


def copy_rate(scene: Scene, value: Any) -> Outcome:
    """The copy's rate, with the optimiser's other numbers."""
    args = "system.optimizer.args."
    decay = ADAM.get(scene.get("system.optimizer.name"), 0.0)
    return Outcome(
        values={
            "@.guidance.rate": plain(number(value)),
            "@.guidance.betas": scene.get(f"{args}betas", [0.9, 0.999]),
            "@.guidance.eps": number(scene.get(f"{args}eps", 1e-8)),
            "@.guidance.weight_decay": number(scene.get(f"{args}weight_decay", decay)),
        }
    )


def unified_kind(scene: Scene, value: Any) -> Outcome:
    """Which guidance the unified one is; the options of its copy, which has defaults of its own."""
    if value == "sds":
        return Outcome()
    if value != "vsd":
        raise NoTranslation(f'"{value}": sds and vsd are known')
    group = "system.guidance.vsd_"
    kind = scene.get(f"{group}camera_condition_type", "extrinsics")
    if not scene.get(f"{group}use_camera_condition", True):
        kind = "none"
    if kind not in ("extrinsics", "mvp", "none"):
        raise NoTranslation(f'the copy is told no camera of the kind "{kind}"')
    if not scene.get(f"{group}use_lora", True):
        raise NoTranslation("the copy is low-rank here, not a whole model")
    drops = scene.get(f"{group}lora_cfg_training", False)
    return Outcome(
        values={
            "@.guidance.own_scale": number(scene.get(f"{group}guidance_scale_phi", 1.0)),
            "@.guidance.drop_camera": DROPPED if drops else 0.0,
            "@.guidance.train_samples": whole(scene.get(f"{group}lora_n_timestamp_samples", 1)),
            "@.guidance.lora.camera": kind,
        }
    )


TRAINING_RULES: dict[str, Callable[..., Rule]] = {
    **{f.__name__: f for f in (guidance_scale, noise, image_loss, copy_weight)},
    **{f.__name__: alone(f) for f in (prior, seen_prior, clip, perp_neg)},
    **{f.__name__: alone(f) for f in (copied_model, drops_camera, copy_rate, unified_kind)},
    **{f.__name__: alone(f) for f in (second_prior, second_clip, mask_weight)},
}
"""These rules by the names that options.yaml has for them."""
