"""Networks that remove a background by themselves: transformers' matting and semantic segmentation
models, and those of the rembg package."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import ModelError
from ...engine.turns import alone
from ..model_files import read_json
from ..pretrained import AGAIN, picture_facts, read_network
from .prompts import Prompts, PromptSegmenter
from .segmenter import Segmenter

REMBG = "rembg:"
"""How the names of rembg's models begin."""
BEHIND = ("background", "other", "void", "unlabeled", "unlabelled")
"""Names of labels that mean no object."""
KINDS = (
    "Segment Anything (sam, sam2, edgetam, sam3_tracker), matting (…ForImageMatting) and semantic "
    "segmentation with a background (…ForSemanticSegmentation) are read"
)


class PromptedRemover(Segmenter):
    """A promptable segmenter that is asked with a box: the user's, or that of what stands out."""

    def __init__(self, segmenter: PromptSegmenter) -> None:
        self.segmenter = segmenter
        self.name = segmenter.name

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`."""
        from .automatic import bounds
        from .cut_out import embedded_segmenter

        rough = embedded_segmenter().mask(picture) > 0.5
        return self.inside(picture, bounds(rough if rough.any() else ~rough))

    def inside(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """See `Segmenter.inside`."""
        from .automatic import probability

        seen = self.segmenter.look(np.ascontiguousarray(picture, np.float32))
        asked = Prompts(boxes=np.asarray(box, np.float32)[None])
        logits, _ = self.segmenter.masks(seen, asked, several=True).best()
        return probability(logits[0]).astype(np.float32)


class TransformersRemover(Segmenter):
    """A matting model, or a semantic segmenter with a background label, of transformers, from a
    folder as the library saves it. Programs that a folder brings along are not run.

    Args:
        folder: contains config.json, preprocessor_config.json and model.safetensors.

    Raises:
        ModelError: the model is missing, damaged, or of another kind.
    """

    @alone()
    def __init__(self, folder: Path, name: str = "") -> None:
        config = read_config(folder)
        kind = remover_kind(config, folder)
        import transformers

        self.name = name or folder.name
        self.matting = kind.endswith("ForImageMatting")
        what = "the background remover"
        self.model: Any = read_network(getattr(transformers, kind), folder, what)
        try:
            self.processor: Any = _processor(folder)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(f"{what} cannot be loaded ({reason})", str(folder), AGAIN) from None
        self.behind = None if self.matting else background_label(self.model.config, folder)

    @torch.no_grad()
    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`."""
        height, width = picture.shape[:2]
        shown = (picture[..., :3].clip(0, 1) * 255).round().astype(np.uint8)
        inputs = self.processor(images=[shown], return_tensors="pt")
        answer = self.model(pixel_values=inputs["pixel_values"])
        if self.matting:
            alpha = answer.alphas
        elif answer.logits.shape[1] == 1:
            alpha = answer.logits.sigmoid()
        else:
            alpha = 1 - answer.logits.softmax(1)[:, self.behind, None]
        whole = F.interpolate(alpha, (height, width), mode="bilinear", align_corners=False)
        return whole[0, 0].clamp(0, 1).float().numpy()


@alone()
def _processor(folder: Path) -> Any:
    """The library's own preparation of pictures; without torchvision where that is missing."""
    import transformers

    facts = picture_facts(folder)
    name = str(facts.get("image_processor_type", "")).removesuffix("Fast").removesuffix("Pil")
    if importlib.util.find_spec("torchvision") is None:
        plain = getattr(transformers, f"{name}Pil", None)
        if plain is not None:
            return plain.from_pretrained(folder, local_files_only=True)
    return transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json. Raises ModelError."""
    path = folder / "config.json"
    if not path.is_file():
        what = "is an ONNX model" if any(folder.glob("*.onnx")) else "holds no model (config.json)"
        raise ModelError(
            what, str(folder), f"{KINDS}; rembg's ONNX models by --segmenter {REMBG}u2net"
        )
    return read_json(path)


@alone()
def remover_kind(config: dict[str, Any], folder: Path) -> str:
    """The class of transformers that reads a model. Raises ModelError, in one line, where it is
    another kind, or brings programs of its own."""
    import transformers

    names = [str(n) for n in config.get("architectures") or ()]
    for name in names:
        if name.endswith(("ForImageMatting", "ForSemanticSegmentation")):
            if name.startswith("VitMatte"):
                raise ModelError(
                    "refines a cut-out that is there already (VitMatte)", str(folder), KINDS
                )
            if hasattr(transformers, name):
                return name
    if config.get("auto_map") or any(folder.glob("*.py")):
        said = names[0] if names else str(config.get("model_type", "unknown"))
        raise ModelError(
            f"brings programs of its own ({said}), which are not run",
            str(folder),
            f"Use --segmenter {REMBG}birefnet-general or {REMBG}bria-rmbg, the same networks",
        )
    said = names[0] if names else str(config.get("model_type", "unknown"))
    raise ModelError(f"is a {said}, which cuts nothing out", str(folder), KINDS)


def background_label(config: Any, folder: Path) -> int:
    """The number of the label that means no object. Raises ModelError where there is none."""
    labels = {int(k): str(v).lower() for k, v in (config.id2label or {}).items()}
    for number, said in sorted(labels.items()):
        if said in BEHIND:
            return number
    if len(labels) <= 2:
        return 0
    raise ModelError(
        f"tells {len(labels)} things apart, none of which is the background", str(folder), KINDS
    )


class RembgRemover(Segmenter):
    """A model of the rembg package, by its name there. The package fetches its weights itself the
    first time that a name is used.

    Raises:
        ModelError: the package or the model is missing.
    """

    def __init__(self, model: str) -> None:
        self.name = f"{REMBG}{model}"
        try:
            # It prints, and leaves the whole process where its own runtime is missing.
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                import rembg
                from rembg.sessions import sessions_class
        except (ImportError, SystemExit):
            raise ModelError(
                "needs the package rembg",
                f"--segmenter {self.name}",
                "pip install '.[rembg]' in the checkout",
            ) from None
        names = sorted(s.name() for s in sessions_class)
        if model not in names:
            raise ModelError(
                f'rembg has no model "{model}"', "--segmenter", f"It has {', '.join(names)}"
            )
        try:
            self.session: Any = rembg.new_session(model)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"rembg cannot load the model ({reason})",
                f"--segmenter {self.name}",
                "Put its file where rembg looks for it (U2NET_HOME), or choose another",
            ) from None

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`."""
        from PIL import Image

        shown = (picture[..., :3].clip(0, 1) * 255).round().astype(np.uint8)
        masks = self.session.predict(Image.fromarray(shown))
        found = np.max([np.asarray(m.convert("L"), np.float32) for m in masks], axis=0)
        return (found / 255).astype(np.float32)
