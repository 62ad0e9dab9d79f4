"""Work that is killed outright in a test: children of one process that has everything imported. A
child is killed with SIGKILL after a step of a stage, and another goes on from its folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KILLED = -9
"""The exit code of a child that was killed."""
SERVER = """
import functools, json, os, signal, sys
from dataclasses import replace
import torch
torch.set_num_threads(1)


def killing(plain, name, index):
    class Killing(plain):
        def run(self, plans):
            def build(plan, done):
                stage = plan.build(done)
                if stage.name == name:
                    after = stage.after_step

                    def stop(step):
                        if after is not None:
                            after(step)
                        if step.index == index:
                            os.kill(os.getpid(), signal.SIGKILL)

                    stage.after_step = stop
                return stage

            return super().run([replace(p, build=functools.partial(build, p)) for p in plans])

    return Killing if name else plain

%s

import diffusers, transformers  # noqa: imported once for all children
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = carry_out(order)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Children:
    """A process that carries orders out in children of its own.

    Args:
        code: imports, and a function carry_out(order) -> exit code; `killing(loop, stage, index)`
            is a loop's class that ends there.
        errors: the file of what the children say.
    """

    def __init__(self, code: str, errors: Path) -> None:
        self.errors = errors
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER % code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.open("w"),
            text=True,
        )
        assert self._line() == "ready", errors.read_text()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def carry_out(self, **order: Any) -> int:
        """The exit code of a child; it has `stage` and `index` of the step that kills it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._line())
        assert code in (0, KILLED), self.errors.read_text()[-3000:]
        return code

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
