"""Reports of a run: pictures, pages and the viewer in the browser."""

from .live import serve_run
from .page import mesh_page, write_report
from .picker import BoxPicker
from .pictures import contact_sheet, save_png, turntable
from .server import PageServer

__all__ = [
    "BoxPicker",
    "PageServer",
    "contact_sheet",
    "mesh_page",
    "save_png",
    "serve_run",
    "turntable",
    "write_report",
]
