"""Whose turn it is among the threads of a process that runs or loads models.

While diffusers and transformers load a model they change the process: how modules register their
parameters, what initialises them, the default number type. Their modules are imported as they are
asked for, which two threads cannot do at once. So one thread loads alone, and those that work wait
for it where they stand between two steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 300.0
"""Seconds for which a load waits for threads that work. One that itself waits for the load would
never come to a pause."""

_turn = threading.Condition()
_working: dict[int, int] = {}
"""Threads that work, and how deep in blocks of `working`."""
_owner: int | None = None
"""The thread that loads."""
_waiting = 0
"""How many threads wait to load; they go before those that want to work."""


def _free() -> bool:
    return _owner is None and not _waiting


@contextmanager
def working() -> Iterator[None]:
    """A block, or a function that is decorated, during which no other thread loads, but at its
    pauses. Blocks may be nested."""
    me = threading.get_ident()
    with _turn:
        if me not in _working and _owner != me:
            _turn.wait_for(_free)
        _working[me] = _working.get(me, 0) + 1
    try:
        yield
    finally:
        with _turn:
            _working[me] -= 1
            if not _working[me]:
                del _working[me]
            _turn.notify_all()


@contextmanager
def alone() -> Iterator[None]:
    """A block, or a function that is decorated, that imports or loads models of a library: no other
    thread loads or works meanwhile. Blocks may be nested, also within `working`."""
    global _owner, _waiting
    me = threading.get_ident()
    if _owner == me:
        yield
        return
    with _turn:
        held = _working.pop(me, 0)
        _waiting += 1
        _turn.notify_all()
        try:
            _turn.wait_for(lambda: _owner is None and not _working, PATIENCE)
            _turn.wait_for(lambda: _owner is None)
            _owner = me
        finally:
            _waiting -= 1
            _hold(me, held)
            # Where the wait was broken off, those that stood back for it go on.
            _turn.notify_all()
    try:
        yield
    finally:
        with _turn:
            _owner = None
            _turn.notify_all()


@contextmanager
def resting() -> Iterator[None]:
    """A block within `working` that waits for something slow, such as a network, while others
    load."""
    me = threading.get_ident()
    with _turn:
        held = 0 if _owner == me else _working.pop(me, 0)
        _turn.notify_all()
    try:
        yield
    finally:
        if held:
            with _turn:
                _turn.wait_for(_free)
                _hold(me, held)


def pause() -> None:
    """Let those load that wait for it, where this thread works."""
    if _waiting and threading.get_ident() in _working:
        with resting():
            pass


def _hold(me: int, held: int) -> None:
    if held:
        _working[me] = held
