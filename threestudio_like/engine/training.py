"""One stage in a folder of its own: how networks are trained."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError
from .events import Events
from .loop import CHECKPOINT, Loop, LoopSettings
from .parallel import Workers
from .stage import Stage, StagePlan


def train_stage(
    out: Path, stage: Stage, seed: int = 0, minutes: float | None = None, resume: bool = False, quiet: bool = False,
    identity: dict | None = None, workers: Workers | None = None,
) -> None:  # fmt: skip
    """Run a stage in out/work/<its name>, with checkpoints there.

    Args:
        identity: what a checkpoint must agree with to be resumed.

    Raises:
        CheckpointError: there is a training already and `resume` is not set, or it was another one.
    """
    folder = out / "work" / stage.name
    begun = (folder / CHECKPOINT).is_file()
    if begun and not resume:
        raise CheckpointError(
            f"there is a {stage.name} training already",
            str(folder),
            "Add --resume to go on with it, or choose another --out",
        )
    lead = workers is None or workers.rank == 0
    events = Events(folder / "events.jsonl" if lead else None, "line" if lead and not quiet else "quiet")
    settings = LoopSettings(
        seed, minutes, 60.0, log_every=25, resume=begun, identity={"network": stage.name, **(identity or {})}
    )
    Loop(folder, events, settings, workers=workers).run([StagePlan(stage.name, lambda done: stage)])
    events.close()
