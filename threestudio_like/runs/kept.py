"""What a finished run keeps in work/: the model that its last stage leaves, in half precision and
compressed, instead of the checkpoint with its optimiser."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save

from ..engine.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from ..engine.errors import CheckpointError
from ..engine.loop import CHECKPOINT, Stage, StagePlan
from ..engine.onlookers import WISHES
from ..engine.progress import GOOD, Restored, module_tensors, restore

MODEL = "model.safetensors.zz"
LARGEST = 1 << 31
"""Bytes that a kept model may have when it is unpacked."""


def keep_model(work: Path, stage: Stage) -> None:
    """Write the modules that hold a stage's result (`Stage.result`). Raises OutputError."""
    names = stage.result or tuple(stage.modules)
    modules = {name: stage.modules[name] for name in names if name in stage.modules}
    tensors = {
        name: _small(value.detach().cpu())
        for name, value in module_tensors(stage.name, modules).items()
    }
    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    data = save(own, metadata={"stage": stage.name, "steps": str(stage.steps)})
    write_atomically(work / MODEL, zlib.compress(data, 6))


def _small(value: torch.Tensor) -> torch.Tensor:
    """A float32 tensor in half precision, unless one of its numbers is too large for that."""
    if value.dtype != torch.float32:
        return value
    half = value.half()
    return value if bool((half.isinf() & value.isfinite()).any()) else half


def prune(
    folder: Path, stages: Mapping[str, Stage], keep: Literal["model", "all", "nothing"]
) -> None:
    """Make a finished run's folder small.

    Args:
        folder: of the run; work/ in it, and in what it holds (objects/, shape/), is pruned.
        stages: of the run, finished; the last one holds the result.
    """
    if keep == "all":
        return
    if keep == "model" and stages:
        keep_model(folder / "work", list(stages.values())[-1])
    for name in (CHECKPOINT, GOOD, "preview.png", WISHES):
        for path in folder.rglob(f"work/{name}"):
            path.unlink(missing_ok=True)


def read_model(work: Path) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors that `keep_model` wrote, as float32, and the steps of their stage. Raises
    CheckpointError."""
    path = work / MODEL
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(path.read_bytes(), LARGEST)
        if not unpack.eof:
            raise ValueError("it is cut off or too large")
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        steps = int(header["__metadata__"]["steps"])
    except Exception as error:
        raise CheckpointError(
            f"the kept model is damaged ({type(error).__name__})", str(path), "Run it again"
        ) from None
    whole = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
    return whole, steps


def reopen_model(work: Path, plans: list[StagePlan], identity: dict[str, Any] | None) -> None:
    """Make a checkpoint of a finished run's model, at the end of its last stage, so that the run
    can get more steps. The optimiser begins anew; with --keep all it does not have to."""
    if (work / CHECKPOINT).is_file() or not (work / MODEL).is_file():
        return
    tensors, steps = read_model(work)
    facts = {
        "stage": len(plans) - 1,
        "name": plans[-1].name,
        "step": steps,
        "identity": identity,
        "model_only": True,
    }
    save_checkpoint(work / CHECKPOINT, tensors, facts)


def restore_stages(work: Path, plans: list[StagePlan]) -> dict[str, Stage]:
    """The stages of a run as its folder has them: from its checkpoint, or from the model it kept.

    Raises:
        CheckpointError: there is neither, or it does not fill what the stages hold.
    """
    if (work / CHECKPOINT).is_file():
        tensors, facts = load_checkpoint(work / CHECKPOINT)
        last = facts["stage"]
        if not isinstance(last, int) or last >= len(plans):
            raise CheckpointError(
                f"it stands at stage {last}, which this run does not have", str(work / CHECKPOINT)
            )
        # A checkpoint that was made of a kept model holds no more than that.
        return _filled(plans[: last + 1], tensors, whole=not facts.get("model_only"))
    if (work / MODEL).is_file():
        return _filled(plans, read_model(work)[0], whole=False)
    raise CheckpointError(
        "nothing of the run's model was kept",
        str(work),
        "Make it again, or with --keep model (the default) next time",
    )


def _filled(
    plans: list[StagePlan], tensors: dict[str, torch.Tensor], *, whole: bool
) -> dict[str, Stage]:
    done: dict[str, Stage] = {}
    restored = Restored()
    for number, plan in enumerate(plans):
        stage = plan.build(done)
        done[stage.name] = stage
        if whole:
            restored.note(stage, restore(stage, None, tensors))
        elif number == len(plans) - 1:
            _restore_result(stage, tensors)
    restored.check()
    return done


def _restore_result(stage: Stage, tensors: dict[str, torch.Tensor]) -> None:
    names = stage.result or tuple(stage.modules)
    kept = {name: stage.modules[name] for name in names if name in stage.modules}
    part = Stage(stage.name, 0, kept, groups=[], loss=stage.loss)
    restored = Restored()
    restored.note(part, restore(part, None, tensors))
    restored.check()
