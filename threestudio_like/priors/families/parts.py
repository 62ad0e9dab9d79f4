"""The parts of a diffusers folder: which files hold their weights, whether they are what their
configuration says, and loading them.

`is this the model?` is asked before any work: the class that a configuration names, and the names
and shapes of all tensors against those of the class on the meta device. Only safetensors are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from ...engine.errors import ModelError
from ...engine.turns import alone
from ..hub import pickle_advice
from ..model_files import number_in, read_json

AGAIN = "Download the model again"
STEMS = ("diffusion_pytorch_model", "model")
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention layers in folders of diffusers' first year."""


def index_of(folder: Path) -> dict[str, Any]:
    """model_index.json, or nothing where a folder has none. Raises ModelError on a damaged one."""
    path = folder / "model_index.json"
    return read_json(path) if path.is_file() else {}


def variant_of(part: Path) -> str | None:
    """The variant of the weights that a part has where it has no plain ones: "fp16" of
    model.fp16.safetensors; None for plain ones.

    Raises:
        ModelError: it has no weights, a shard is missing, or it has pickles alone.
    """
    for stem in STEMS:
        if (part / f"{stem}.safetensors").is_file():
            return None
        index = part / f"{stem}.safetensors.index.json"
        if index.is_file():
            _check_shards(part, index)
            return None
    for path in sorted(part.iterdir()):
        found = re.fullmatch(
            rf"(?:{'|'.join(STEMS)})\.(?:([\w-]+)\.safetensors|safetensors\.index\.([\w-]+)\.json)",
            path.name,
        )
        if found:
            if found[2]:
                _check_shards(part, path)
            return found[1] or found[2]
    pickles = [p for p in sorted(part.iterdir()) if p.suffix in PICKLES]
    if pickles:
        raise ModelError(
            "its weights are pickled, which can hold programs; only safetensors are read",
            str(pickles[0]),
            pickle_advice(pickles[0]),
        )
    raise ModelError("has no weights", str(part), AGAIN)


def _check_shards(part: Path, index: Path) -> list[Path]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ModelError("the list of shards is damaged", str(index), AGAIN)
    names = sorted({str(name) for name in table.values()})
    for name in names:
        if "/" in name or "\\" in name or not (part / name).is_file():
            raise ModelError(f'the shard "{name}" is missing', str(part), AGAIN)
    return [part / name for name in names]


def weight_files(part: Path) -> list[Path]:
    """The safetensors files that hold a part's weights. Raises ModelError, see `variant_of`."""
    variant = variant_of(part)
    dotted = f".{variant}" if variant else ""
    for stem in STEMS:
        whole = part / f"{stem}{dotted}.safetensors"
        if whole.is_file():
            return [whole]
        index = part / f"{stem}.safetensors.index{dotted}.json"
        if index.is_file():
            return _check_shards(part, index)
    raise ModelError("has no weights", str(part), AGAIN)


def shapes_in(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in safetensors files, by name; nothing of them is read. Raises
    ModelError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(str(path), framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  it is no dictionary
                    shapes[key] = tuple(file.get_slice(key).get_shape())
        except (SafetensorError, OSError) as error:
            first = str(error).splitlines()[0][:120]
            raise ModelError(f"the weights are damaged ({first})", str(path), AGAIN) from None
    return shapes


def _new_name(key: str) -> str:
    pieces = key.split(".")
    if len(pieces) > 1 and pieces[-2] in _OLD_ATTENTION and "attentions" in pieces:
        pieces[-2] = _OLD_ATTENTION[pieces[-2]]
    return ".".join(pieces)


def compare(
    wanted: dict[str, tuple[int, ...]], there: dict[str, tuple[int, ...]], where: str
) -> None:
    """Raise ModelError where tensors are missing, too many, or of other shapes than wanted."""
    present = {_new_name(k): v for k, v in there.items() if not k.endswith("position_ids")}
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise ModelError(
            f"lacks {len(missing)} of the {len(wanted)} tensors that its configuration asks for "
            f"(the first: {missing[0]})",
            where,
            "It is another model than its config.json says, or was not downloaded whole",
        )
    extra = sorted(set(present) - set(wanted))
    if extra:
        raise ModelError(
            f"holds {len(extra)} tensors that its configuration knows nothing of (the first: "
            f"{extra[0]})",
            where,
            "It is another model than its config.json says, and would be read wrongly",
        )
    for key in sorted(wanted):
        if wanted[key] != present[key]:
            raise ModelError(
                f'"{key}" is {list(present[key])}, and its configuration asks for '
                f"{list(wanted[key])}",
                where,
                AGAIN,
            )


def check_class(folder: Path, part: str, allowed: Sequence[str]) -> dict[str, Any]:
    """The configuration of a part whose class is one of those allowed. Raises ModelError."""
    path = folder / part / "config.json"
    if not path.is_file():
        raise ModelError(
            f'has no "{part}" with a configuration',
            str(folder),
            "Give a folder as diffusers saves a text-to-image model",
        )
    values = read_json(path)
    names = values.get("architectures") or [values.get("_class_name", "")]
    name = names[0] if isinstance(names, list) and names else names
    if name and name not in allowed:
        raise ModelError(
            f'its {part} is a "{name}", and this family has a {" or ".join(allowed)}',
            str(path),
            "Other architectures are not read as if they were these",
        )
    return values


@alone()
def load_part(
    folder: Path, part: str, kind: str, dtype: torch.dtype, classes: Sequence[str]
) -> Any:
    """A network of diffusers from a part of a model folder.

    Args:
        kind: the class that it is loaded as.
        classes: names that its configuration may give.

    Raises:
        ModelError: it is missing, another model than it says, or damaged.
    """
    import diffusers
    from diffusers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    values = check_class(folder, part, classes)
    path = folder / part
    files = weight_files(path)
    made: Any = getattr(diffusers, kind)
    try:
        with torch.device("meta"):
            wanted = made.from_config(values).state_dict()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:140]
        raise ModelError(
            f"its configuration makes no {kind} ({first})", str(path / "config.json"), AGAIN
        ) from None
    compare({k: tuple(v.shape) for k, v in wanted.items()}, shapes_in(files), str(path))
    try:
        return made.from_pretrained(
            str(path.resolve()),
            torch_dtype=dtype,
            use_safetensors=True,
            variant=variant_of(path),
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        first = str(error).splitlines()[0][:160]
        raise ModelError(f"the weights cannot be loaded ({first})", str(path), AGAIN) from None


@alone()
def load_network(
    folder: Path,
    part: str,
    build: Callable[[], nn.Module],
    dtype: torch.dtype,
    classes: Sequence[str],
) -> Any:
    """A network of this project's own from a part of a model folder.

    Args:
        build: makes it, with any weights.
        classes: names that its configuration may give.

    Raises:
        ModelError: it is missing, another model than it says, or damaged.
    """
    check_class(folder, part, classes)
    path = folder / part
    files = weight_files(path)
    with torch.device("meta"):
        network = build()
    compare(
        {k: tuple(v.shape) for k, v in network.state_dict().items()}, shapes_in(files), str(path)
    )
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        tensors.update(load_file(file))
    network.load_state_dict({k: v.to(dtype) for k, v in tensors.items()}, assign=True)
    return network


def check_skip(folder: Path, parts: Sequence[str], skip: int, usual: int = 0) -> None:
    """Raise ModelError where a text encoder of a folder would have no layer left without `skip`,
    and the `usual` ones that its family leaves out."""
    for part in parts if skip else ():
        path = folder / part / "config.json"
        if not path.is_file():
            continue
        layers = number_in(path, "num_hidden_layers", 12)
        most = max(0, layers - usual - 1)
        if skip > most:
            raise ModelError(
                f"the {part} has {layers} layers, and {skip + usual} would be left out",
                f"--load.clip_skip {skip}",
                f"Give at most {most}",
            )


@alone()
def load_text_part(folder: Path, part: str, dtype: torch.dtype, classes: Sequence[str]) -> Any:
    """An encoder of texts or pictures of transformers from a part of a model folder, frozen.

    Args:
        classes: names that its configuration may give, which are those of its classes.

    Raises:
        ModelError: it is missing, another model than it says, or damaged.
    """
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    values = check_class(folder, part, classes)
    path = folder / part
    variant = variant_of(path)
    shapes_in(weight_files(path))
    name = (values.get("architectures") or classes[:1])[0]
    try:
        network, told = getattr(transformers, name).from_pretrained(
            str(path.resolve()),
            dtype=dtype,
            use_safetensors=True,
            variant=variant,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(f"the {part} cannot be loaded ({first})", str(path), AGAIN) from None
    wrong = [*sorted(told["missing_keys"]), *sorted(map(str, told.get("mismatched_keys", ())))]
    if wrong:
        raise ModelError(
            f"lacks {len(wrong)} tensors that its configuration asks for (the first: {wrong[0]})",
            str(path),
            AGAIN,
        )
    return network.requires_grad_(False).eval()


def sizes_of(folder: Path) -> dict[str, int]:
    """Parameters of every network that has weights, as their files say."""
    sizes = {}
    for part in sorted(p for p in folder.iterdir() if (p / "config.json").is_file()):
        if any(part.glob("*.safetensors")):
            shapes = shapes_in(weight_files(part)).values()
            sizes[part.name] = sum(int(torch.Size(shape).numel()) for shape in shapes)
    return sizes
