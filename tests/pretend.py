"""Devices that are none: tensors that say they are elsewhere, hold their values in main memory, and
refuse to meet tensors that are not.

What a GPU would refuse fails on them too, so that code for GPUs is tested without one: a sum of a
tensor there and one here, a NumPy view of a tensor there, work on another than the current device
(which torch's own operations allow, and kernels that are launched by hand and recorded graphs do
not), and in a recording whatever waits for the device or brings something to it. Inside
``pretend_device()`` the devices are "lazy:0", "lazy:1", …, and ``kernels.devices`` knows them.
"""

from __future__ import annotations

import contextlib
import traceback
from unittest import mock

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

KIND = "lazy"
ELSEWHERE = torch.device(KIND, 0)

# What takes tensors of both places on a GPU too: copies between them, and indices that are in main
# memory.
WAITS: list[str] = []
"""Where the code has asked for a number from there, which a GPU would have to finish its work for:
file and line of this package."""

_ANYWHERE = ("aten::detach", "aten::_to_copy", "aten::copy_", "aten::alias", "aten::view")
"""What another than the current device does too: views and copies."""
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::set_")
_MIXES = {
    "aten::copy_",
    "aten::_to_copy",
    "aten::index.Tensor",
    "aten::index_put_",
    "aten::index_put",
    "aten::set_",
}


class State:
    """What torch knows of the devices: how many there are, which is the current one, and whether
    its work is being recorded."""

    count = 1
    current = 0
    recording = False
    recorded = 0


class PretendTensor(torch.Tensor):
    """A tensor `held` in main memory that says it is elsewhere."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device | None = None):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=device or torch.device(KIND, State.current),
            requires_grad=held.requires_grad,
        )
        made.held = held.detach() if held.requires_grad else held
        return made

    def __repr__(self) -> str:
        return f"PretendTensor({self.held})"

    def tolist(self):
        """A copy, as from a GPU."""
        return self.detach().cpu().tolist()

    def numpy(self, *, force=False):
        """Refused, as by a GPU: NumPy sees main memory alone."""
        raise TypeError(f"can't convert a tensor of {self.device} to numpy: copy it with cpu()")

    @property
    def data(self):
        """The same values without a gradient."""
        return self.detach()

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.held = value.held

    def __array__(self, *arguments, **keywords):
        """As `numpy`."""
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


def _waited():
    if State.recording:
        raise RuntimeError("operation not permitted when the stream is capturing: a wait")
    inside = [f for f in traceback.extract_stack() if "threestudio_like/" in f.filename]
    if inside:
        WAITS.append(
            f"{inside[-1].filename.rpartition('threestudio_like/')[2]}:{inside[-1].lineno}"
        )


def _copied(name, arguments):
    """A copy from there to main memory waits; one in the other direction does not."""
    if not (name.startswith("aten::copy_") and isinstance(arguments[0], PretendTensor)):
        _waited()


def _run(function, arguments, keywords):
    flat, _ = tree_flatten((arguments, keywords))
    there = [t for t in flat if isinstance(t, PretendTensor)]
    here = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, PretendTensor)]
    name = function.name() if hasattr(function, "name") else str(function)
    if there and name.startswith(("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")):
        _waited()
    wrong = [t.device for t in there if t.device.index != State.current]
    if wrong and not name.startswith(_ANYWHERE):
        raise RuntimeError(f"{name}: on {wrong[0]}, and the current device is {State.current}")
    mixes = name in _MIXES or name.split(".")[0] in _MIXES
    if there and not mixes and any(t.dim() > 0 for t in here):
        raise RuntimeError(
            f"{name}: tensors on two devices: {[tuple(t.shape) for t in there]} there, "
            f"{[tuple(t.shape) for t in here]} here"
        )
    wanted = keywords.get("device")
    to = torch.device(wanted) if wanted is not None else None
    crosses = bool(here) if there else to is not None and to.type == KIND and bool(here)
    leaves = bool(there) and to is not None and to.type != KIND
    if State.recording and (crosses or leaves) and name.startswith(_COPIES):
        raise RuntimeError(f"{name}: not permitted when the stream is capturing: a copy")
    if leaves or (there and name.startswith("aten::copy_") and here):
        _copied(name, arguments)
    if to is not None and to.type == ELSEWHERE.type:
        keywords = {**keywords, "device": torch.device("cpu")}
    plain = tree_map(lambda t: t.held if isinstance(t, PretendTensor) else t, (arguments, keywords))
    out = function(*plain[0], **plain[1])
    elsewhere = to.type == ELSEWHERE.type if to is not None else bool(there)
    in_place = name.startswith("aten::copy_") or (
        name.split(".")[0].endswith("_") and not name.split(".")[0].endswith("__")
    )
    if in_place and isinstance(arguments[0], torch.Tensor) and isinstance(out, torch.Tensor):
        return arguments[0]
    if not elsewhere:
        return out
    place = to or there[0].device
    if place.index is None:
        place = torch.device(KIND, State.current)
    if place.index >= State.count:
        raise RuntimeError(f"invalid device ordinal: {place}")
    return tree_map(
        lambda t: (
            PretendTensor(t, place)
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


class _Graphs:
    """Recordings on a pretended device: what was recorded is done again, on the same tensors."""

    @staticmethod
    def record(device, pool, run):
        """See `priors.recorded.record`."""
        assert device.index == State.current
        State.recording = True
        try:
            out = run()
        finally:
            State.recording = False

        def replay():
            State.recorded += 1
            out.held.copy_(run().held)

        return replay, out


def known(device):
    """What `kernels.devices.check` is to these devices."""
    kind, _, number = device.partition(":")
    if kind not in (KIND, "cpu") or (number and int(number) >= State.count):
        raise RuntimeError(f"there is no {device}")


@contextlib.contextmanager
def pretend_device(count=1, record=False):
    """Within it torch has `count` devices more, the first of which is `ELSEWHERE`.

    Args:
        record: whether networks are recorded as graphs.
    """
    before = torch.__future__.get_swap_module_params_on_conversion()
    # As on a GPU, moving a module leaves its parameters the same objects.
    torch.__future__.set_swap_module_params_on_conversion(True)
    State.count, State.current, State.recorded = count, 0, 0

    def make_current(device):
        assert device.index < count
        State.current = device.index

    sd = "threestudio_like.priors.stable_diffusion"
    devices, recorded = "threestudio_like.kernels.devices", "threestudio_like.priors.recorded"
    patches = [
        mock.patch(f"{devices}.check", known),
        mock.patch(f"{devices}.device_count", return_value=count),
        mock.patch(f"{devices}.make_current", make_current),
    ]
    if record:
        patches += [
            mock.patch(f"{sd}.can_record", lambda device: device.type == KIND),
            mock.patch(f"{recorded}.new_pool", return_value=object()),
            mock.patch(f"{recorded}.record", _Graphs.record),
        ]
    try:
        with contextlib.ExitStack() as inside:
            for one in (*patches, _Literals(), _Factories()):
                inside.enter_context(one)
            yield ELSEWHERE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
