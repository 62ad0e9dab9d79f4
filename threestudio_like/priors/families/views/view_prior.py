"""What view-conditioned families share: the reference picture, encoded once, views that belong
together, and models that read no prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from ....engine.errors import ModelError
from ....kernels.devices import MAIN
from ...diffusion import Condition, PriorFacts, Reference, Untold
from ...text.embeddings import EmbeddingStore
from ...text.packed import Text, TextLayout
from ..base import DiffusersPrior
from ..parts import check_class, shapes_in, weight_files
from .pictures import VISION, PictureProcessor


class NoText:
    """The text side of a model that reads none: one number that means nothing."""

    layout = TextLayout()
    prepare: Callable[[str, Any], None] | None = None

    def __init__(self) -> None:
        self.embeddings = EmbeddingStore()
        self.dtype, self.device, self.keep = torch.float32, torch.device(MAIN), True

    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Zeros (B, 1, 1)."""
        return torch.zeros(len(prompts), 1, 1)

    def check(self, prompt: str) -> list[str]:
        """That the prompt is not read."""
        return [f'the model takes a picture and no prompt; not read: "{prompt}"'] if prompt else []

    def columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""
        raise ModelError("reads no prompt", words, "Write no weights of words")


class ViewPrior(DiffusersPrior):
    """A prior of pictures of one object from several sides."""

    half = torch.float16
    likes = False
    vision: ClassVar[str] = ""
    """The folder of the network that embeds pictures."""
    processors: ClassVar[tuple[str, ...]] = ()
    """The folders that say how pictures are read."""
    together: ClassVar[int] = 1
    """Views that it denoises together."""
    wants_reference: ClassVar[bool] = False
    """Whether it is told a picture of the object (`PriorFacts.wants_reference`)."""
    poses: ClassVar[tuple[tuple[float, float], ...]] = ()
    """The only views that it knows (`PriorFacts.fixed_views`); empty for any."""
    kept: ClassVar[int] = 2
    """Encoded references that are kept."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._references: list[tuple[Reference, Any]] = []
        super().__init__(*arguments, **keywords)

    def check(self) -> None:
        """See `DiffusersPrior.check`: what reads the picture is asked for before any work."""
        super().check()
        for part in self.processors:
            PictureProcessor.read(self.folder, part)
        if self.vision:
            check_class(self.folder, self.vision, VISION)
            shapes_in(weight_files(self.folder / self.vision))

    def goes_without(self, untold: frozenset[Untold]) -> bool:
        """See `DiffusionPrior.goes_without`: it was made to be told views."""
        return untold <= {"words"}

    def encode_reference(self, reference: Reference) -> Any:
        """What the network is told of a picture; nothing by default."""
        return None

    @torch.no_grad()
    def reference(self, condition: Condition) -> Any:
        """What the network is told of the condition's picture, encoded once.

        Raises:
            ModelError: there is none.
        """
        reference = condition.reference
        if reference is None:
            raise ModelError(
                "turns a picture of the object, and was given none",
                self.facts.name,
                "Use it with: threestudio-like reconstruct PICTURE --method field",
            )
        for known, encoded in self._references:
            if known is reference:
                return encoded
        self._references = self._references[-self.kept + 1 :]
        self._references.append((reference, self.encode_reference(reference)))
        return self._references[-1][1]

    def check_views(self, count: int, t: torch.Tensor, condition: Condition) -> None:
        """Raise ModelError where not all views that belong together are there, at one time."""
        wanted = self.together
        if condition.views != wanted or count % wanted:
            given = condition.views if condition.views != wanted else count
            raise ModelError(
                f"denoises {wanted} views of an object together, and was given {given}",
                self.facts.name,
                f"Let a step have {wanted} views: --distil.cameras stratified "
                f"--distil.stratified.batch {wanted} --distil.guidance.joint_views true",
            )
        groups = t.view(-1, wanted)
        if bool((groups != groups[:, :1]).any()):
            raise ModelError(
                "denoises views together at one noise time, and was given several",
                self.facts.name,
                "Let them share it: --distil.guidance.shared_time true",
            )

    def check_poses(self, condition: Condition) -> None:
        """Raise ModelError where the cameras are not the only ones that it knows."""
        cameras, reference = condition.cameras, condition.reference
        if cameras is None:
            return
        wanted = torch.tensor(self.poses).repeat(len(cameras) // self.together, 1)
        around = 0.0 if reference is None else math.degrees(reference.azimuth)
        azimuth = torch.rad2deg(cameras.azimuth.cpu()) - around
        off = (azimuth - wanted[:, 0] + 180) % 360 - 180
        high = torch.rad2deg(cameras.elevation.cpu()) - wanted[:, 1]
        worst = float(torch.stack([off, high]).abs().max())
        if worst > 1:
            views = ", ".join(f"{a:g}/{e:g}" for a, e in self.poses)
            raise ModelError(
                f"knows {self.together} views alone, and one is {worst:.0f} degrees beside them",
                self.facts.name,
                f"Its views (azimuth/elevation): {views}",
            )

    def _together(self, condition: Condition) -> int:
        return max(condition.views, self.together)

    def described(self, facts: PriorFacts) -> PriorFacts:
        """The facts with what the family says of its views."""
        facts.told_background = False
        facts.fixed_views = self.poses
        facts.joint_views, facts.single_views = self.together, self.together == 1
        facts.wants_reference = self.wants_reference
        return facts

    def _facts(self) -> PriorFacts:
        return self.described(super()._facts())


def rows_of(text: Text, every: int, more: int = 1) -> torch.Tensor:
    """States (B, T, D) with `more` rows like its first after each run of `every`."""
    groups = text.states.unflatten(0, (-1, every))
    return torch.cat([groups, groups[:, :1].expand(-1, more, -1, -1)], 1).flatten(0, 1)
