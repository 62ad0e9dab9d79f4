"""Reports of a run: pictures, pages and the viewer in the browser."""

from .live import serve_run
from .page import Change, Comparison, Report, mesh_page, write_report
from .picker import BoxPicker
from .pictures import contact_sheet, save_png
from .server import PageServer
from .turntable import Film, film, turntable

__all__ = [
    "BoxPicker",
    "Change",
    "Comparison",
    "Film",
    "PageServer",
    "Report",
    "contact_sheet",
    "film",
    "mesh_page",
    "save_png",
    "serve_run",
    "turntable",
    "write_report",
]
