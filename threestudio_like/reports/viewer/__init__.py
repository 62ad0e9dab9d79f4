"""The viewer in the browser, on viser: a run while it goes and after, runs side by side, meshes,
points and Gaussians, the objects of a picture, what of a mesh keeps its colour."""

from .follow import announce, check_viewer, follow
from .guard import LOOPBACK, Guard
from .lock import LockPainter
from .picker import BoxPicker
from .runs import RunsViewer
from .server import ViewerServer
from .shapes import file_viewer
from .state import run_state

__all__ = [
    "LOOPBACK",
    "BoxPicker",
    "Guard",
    "LockPainter",
    "RunsViewer",
    "ViewerServer",
    "announce",
    "check_viewer",
    "file_viewer",
    "follow",
    "run_state",
]
