"""Where control networks come from: what the user says of one, and the published ones by family and
kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ConfigError, ModelError
from ..model_files import read_json
from ..registry import EMBEDDED, ModelEntry, embedded_folder, find_model
from .kinds import CONTROL_KINDS

OPTION = "--control"
PAGE = "see the model's page"
CONTROL_MODELS: dict[str, ModelEntry] = {
    "sd1-depth": ModelEntry(
        ("lllyasviel/control_v11f1p_sd15_depth",), "CreativeML Open RAIL-M", "worldwide"
    ),
    "sd1-normal": ModelEntry(
        ("lllyasviel/control_v11p_sd15_normalbae",), "CreativeML Open RAIL-M", "worldwide"
    ),
    "sd1-canny": ModelEntry(
        ("lllyasviel/control_v11p_sd15_canny",), "CreativeML Open RAIL-M", "worldwide"
    ),
    "sd1-inpaint": ModelEntry(
        ("lllyasviel/control_v11p_sd15_inpaint",), "CreativeML Open RAIL-M", "worldwide"
    ),
    "sd2-depth": ModelEntry(("thibaud/controlnet-sd21-depth-diffusers",), PAGE, "worldwide"),
    "sd2-normal": ModelEntry(("thibaud/controlnet-sd21-normalbae-diffusers",), PAGE, "worldwide"),
    "sd2-canny": ModelEntry(("thibaud/controlnet-sd21-canny-diffusers",), PAGE, "worldwide"),
    "sdxl-depth": ModelEntry(
        ("diffusers/controlnet-depth-sdxl-1.0",), "CreativeML Open RAIL++-M", "worldwide"
    ),
    "sdxl-canny": ModelEntry(
        ("diffusers/controlnet-canny-sdxl-1.0",), "CreativeML Open RAIL++-M", "worldwide"
    ),
    "sd3-depth": ModelEntry(("InstantX/SD3-Controlnet-Depth",), PAGE, "worldwide"),
    "sd3-canny": ModelEntry(("InstantX/SD3-Controlnet-Canny",), PAGE, "worldwide"),
    "flux-depth": ModelEntry(
        ("Shakker-Labs/FLUX.1-dev-ControlNet-Depth",), "FLUX.1 dev Non-Commercial", "worldwide"
    ),
    "flux-canny": ModelEntry(
        ("InstantX/FLUX.1-dev-Controlnet-Canny",), "FLUX.1 dev Non-Commercial", "worldwide"
    ),
}
"""Published control networks by family (as `families.detection` names it, Stable Diffusion 1 and 2
told apart) and kind."""


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """One control that is asked for: its kind, a folder, name or hub id (empty for the family's
    published one), and its weight."""

    kind: str
    source: str = ""
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> ControlRequest:
        """ "depth", "depth=FOLDER", "depth@0.6", "depth=FOLDER@0.6".

        Raises:
            ConfigError: the kind is not known, or the weight is none.
        """
        rest, at, last = text.strip().rpartition("@")
        rest, weight = (rest, last) if at else (last, "1")
        kind, _, source = rest.partition("=")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 4:
            raise ConfigError(
                f'the weight of a control must be from 0 to 4, got "{weight}"',
                f"{OPTION} {text}",
                "Write: depth@0.6, or depth=FOLDER@0.6",
            )
        name = CONTROL_KINDS.check(kind.strip(), OPTION)
        return ControlRequest(kind=name, source=source.strip(), weight=number)


def parse_requests(texts: tuple[str, ...]) -> tuple[ControlRequest, ...]:
    """The controls that are asked for. Raises ConfigError, see `ControlRequest.parse`."""
    return tuple(ControlRequest.parse(text) for text in texts)


def control_folder(request: ControlRequest, row: str, *, embedded: bool) -> Path:
    """The folder of a control network.

    Args:
        row: the family of the prior as `CONTROL_MODELS` names it.
        embedded: whether the prior is this project's own.

    Raises:
        ModelError: it was not found, or does not read the kind.
    """
    source = request.source
    if source in ("", EMBEDDED) and embedded:
        folder = embedded_folder("control")
        if not (folder / "config.json").is_file():
            raise ModelError(
                "the embedded ControlNet's weights are missing",
                str(folder),
                "Reinstall the package, or make them: threestudio-like train control",
            )
    else:
        name = source or f"{row}-{request.kind}"
        if not source and name not in CONTROL_MODELS:
            raise ModelError(
                f"no published network of this kind is known for the prior's family ({row})",
                f"{OPTION} {request.kind}",
                f"Give a folder or a hub id: {OPTION} {request.kind}=FOLDER",
            )
        folder = find_model(name, CONTROL_MODELS, OPTION, file="config.json")
    if not (folder / "config.json").is_file():
        raise ModelError(
            "has no config.json, and is no folder of a ControlNet or a T2I-Adapter as diffusers "
            "saves it",
            str(folder),
            f"Give such a folder or a hub id: {OPTION} {request.kind}=FOLDER",
        )
    own = folder / "control.json"
    kinds = read_json(own).get("kinds") if own.is_file() else None
    if isinstance(kinds, list) and request.kind not in kinds:
        raise ModelError(
            f'was trained on {" and ".join(map(str, kinds))}, not on "{request.kind}"',
            str(folder),
            f"Take {OPTION} {kinds[0] if kinds else ''}, or another network",
        )
    return folder
