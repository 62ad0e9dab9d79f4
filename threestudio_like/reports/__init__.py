"""What a person sees of a run."""

from .page import write_report
from .pictures import contact_sheet, save_png, turntable

__all__ = ["contact_sheet", "save_png", "turntable", "write_report"]
