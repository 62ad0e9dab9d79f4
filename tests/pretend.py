"""A device that is none: tensors that say they are elsewhere, hold their values in main memory, and
refuse to meet tensors that are not.

What a GPU would refuse (a sum of a tensor there and one here, a NumPy view of a tensor there) fails
on it too, so that code for GPUs is tested without one. Inside ``pretend_device()`` the name of the
device is "lazy".
"""

from __future__ import annotations

import contextlib
import traceback

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("lazy")

# What takes tensors of both places on a GPU too: copies between them, and indices that are in main
# memory.
WAITS: list[str] = []
"""Where the code has asked for a number from there, which a GPU would have to finish its work for:
file and line of this package."""

_MIXES = {
    "aten::copy_",
    "aten::_to_copy",
    "aten::index.Tensor",
    "aten::index_put_",
    "aten::index_put",
    "aten::set_",
}


class PretendTensor(torch.Tensor):
    """A tensor `held` in main memory that says it is elsewhere."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=ELSEWHERE,
            requires_grad=held.requires_grad,
        )
        made.held = held.detach() if held.requires_grad else held
        return made

    def __repr__(self) -> str:
        return f"PretendTensor({self.held})"

    def tolist(self):
        """A copy, as from a GPU."""
        _waited()
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


def _waited():
    inside = [f for f in traceback.extract_stack() if "threestudio_like/" in f.filename]
    if inside:
        WAITS.append(
            f"{inside[-1].filename.rpartition('threestudio_like/')[2]}:{inside[-1].lineno}"
        )


def _run(function, arguments, keywords):
    flat, _ = tree_flatten((arguments, keywords))
    there = [t for t in flat if isinstance(t, PretendTensor)]
    here = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, PretendTensor)]
    name = function.name() if hasattr(function, "name") else str(function)
    if there and name.startswith(("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")):
        _waited()
    mixes = name in _MIXES or name.split(".")[0] in _MIXES
    if there and not mixes and any(t.dim() > 0 for t in here):
        raise RuntimeError(
            f"{name}: tensors on two devices: {[tuple(t.shape) for t in there]} there, "
            f"{[tuple(t.shape) for t in here]} here"
        )
    wanted = keywords.get("device")
    to = torch.device(wanted) if wanted is not None else None
    if to is not None and to.type == ELSEWHERE.type:
        keywords = {**keywords, "device": torch.device("cpu")}
    plain = tree_map(lambda t: t.held if isinstance(t, PretendTensor) else t, (arguments, keywords))
    out = function(*plain[0], **plain[1])
    elsewhere = to.type == ELSEWHERE.type if to is not None else bool(there)
    in_place = name.startswith("aten::copy_") or (
        name.split(".")[0].endswith("_") and not name.endswith("_to_copy")
    )
    if in_place and isinstance(arguments[0], torch.Tensor) and isinstance(out, torch.Tensor):
        return arguments[0]
    if not elsewhere:
        return out
    return tree_map(
        lambda t: (
            PretendTensor(t)
            if isinstance(t, torch.Tensor) and not isinstance(t, PretendTensor)
            else t
        ),
        out,
    )


class _Factories(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


class _Literals(TorchFunctionMode):
    """torch.tensor and its kin copy their numbers below the dispatcher: make them here, then send
    them."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = dict(keywords or {})
        if function in (torch.tensor, torch.as_tensor) and keywords.get("device") is not None:
            return function(*arguments, **{**keywords, "device": None}).to(keywords["device"])
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(
            arguments[0], PretendTensor
        ):
            index = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            index = tuple(
                torch.as_tensor(i) if isinstance(i, (list, np.ndarray)) else i for i in index
            )
            return function(arguments[0], index, *arguments[2:])
        if function is torch.Tensor.new_tensor and isinstance(arguments[0], PretendTensor):
            kind = {"dtype": arguments[0].dtype, **keywords}
            return torch.tensor(*arguments[1:], **kind).to(ELSEWHERE)
        return function(*arguments, **keywords)


@contextlib.contextmanager
def pretend_device():
    """Within it torch has one device more, `ELSEWHERE`."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    # As on a GPU, moving a module leaves its parameters the same objects.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Literals(), _Factories():
            yield ELSEWHERE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
