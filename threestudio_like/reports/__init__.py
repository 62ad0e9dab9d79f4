"""Reports of a run: pictures and pages; the viewer in the browser is `reports.viewer`."""

from .page import Change, Comparison, Report, mesh_page, write_report
from .pictures import contact_sheet, save_png
from .turntable import Film, film, turntable

__all__ = [
    "Change",
    "Comparison",
    "Film",
    "Report",
    "contact_sheet",
    "film",
    "mesh_page",
    "save_png",
    "turntable",
    "write_report",
]
