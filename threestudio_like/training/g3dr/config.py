"""The configuration of G3DR's training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...engine.config import set_dotted
from ...engine.errors import ConfigError
from ...engine.schema.bounds import Count, Number, ScheduleText, Share, Size, Weight
from ...priors.networks.triplane_generator import TriplaneGeneratorConfig
from ...renderers.midpoint import MidpointConfig
from ..options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class G3drTraining:
    """How the generator is trained. `paper()` has the released numbers."""

    generator: TriplaneGeneratorConfig = field(default_factory=TriplaneGeneratorConfig.toybox)
    rays: MidpointConfig = field(default_factory=lambda: MidpointConfig(coarse=24, fine=24))
    render: Size = 32
    """Edge length in pixels of the pictures that are rendered in a step."""
    scale_gradients: bool = False
    """Scale gradients by how near the known surface they are, as published. Off: where a collapse
    was possible, twenty-four trainings of 2,500 steps with it ended with more fog than the same
    without it (benchmarks/g3dr_scaling.py). The shipped weights were trained with it, and
    `clear`."""
    floor: ScheduleText = "0.05"
    """Schedule of the smallest factor of scaled gradients."""
    clear: bool = True
    """Scale only gradients that would add matter far from the surface. As published (False), matter
    that is already there is also removed twenty times more slowly, while novel views, whose
    gradients are never scaled, continue to add matter."""
    novel: Share = 0.4
    """Largest share of steps that render a novel view."""
    clip: Weight = 1.0
    """Factor of the CLIP terms; 0 switches them off."""
    depth_loss: Weight = 1.0
    """Factor of the depth term; without it, only gradient scaling determines where matter belongs.
    """
    perceptual: Weight = 1.0
    steps: Count = 2000
    batch: Number = 2
    rate: ScheduleText = "onecycle 2e-3"
    ema: Share = 0.995
    clip_model: str = "toybox"
    """CLIP model that compares novel views with the picture."""
    perceptual_model: str = "toybox"
    """Network of the perceptual loss: "toybox", or a file with VGG16's weights."""
    depth_model: str = "toybox"
    """Depth estimator for pictures of a folder without depth maps."""

    @staticmethod
    def of(preset: str) -> G3drTraining:
        """The numbers of a preset: "toybox" (the shipped generator), "large" (the same network with
        a longer training, for a GPU), "quick" (a few steps) or "paper"."""
        if preset == "paper":
            return G3drTraining.paper()
        if preset == "quick":
            return G3drTraining(steps=4)
        return (
            G3drTraining(render=48, steps=12000, batch=16) if preset == "large" else G3drTraining()
        )

    @staticmethod
    def paper() -> G3drTraining:
        """The released numbers: 128 pixels, 300,000 steps of 8 pictures on each of six devices,
        Adam 5e-5."""
        return G3drTraining(
            generator=TriplaneGeneratorConfig(),
            rays=MidpointConfig(),
            render=128,
            scale_gradients=True,
            clear=False,
            steps=300_000,
            batch=48,
            rate="onecycle 5e-5",
            ema=0.0,
        )


def g3dr_config(options: TrainingOptions) -> G3drTraining:
    """The configuration of `train g3dr`."""
    config = G3drTraining.of(options.preset)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    for key, text in options.set.items():
        config = set_dotted(config, key, text)
    if config.generator.relief and (config.generator.features < 4 or config.generator.hidden < 8):
        raise ConfigError(
            "a relief takes 4 features and 8 hidden units",
            "--generator.features",
            "Give more, or --generator.relief false",
        )
    if config.generator.size < config.render:
        raise ConfigError(
            f"renders {config.render} pixels of planes of {config.generator.size}",
            "--render",
            "Make it smaller",
        )
    return config
