"""three.js for the pages, taken at run time from the installed trimesh, whose notebook template
brings it along. Nothing of it is kept in this package."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
from functools import lru_cache

_CORE = re.compile(r"/\*\*\s*\*\s*@license.*?Three\.js Authors.*?\*/\s*!function\(", re.S)
"""How three.js begins: its licence, then its one function."""
_NEXT = re.compile(r"\n\(function\s*\(")
"""How the template's next script begins."""


@lru_cache(maxsize=1)
def three_script() -> str:
    """The text of three.js, which defines `THREE`; "" where the installed trimesh brings none that
    is known here, and the pages say so."""
    template = _template()
    begin = _CORE.search(template)
    end = _NEXT.search(template, begin.end()) if begin else None
    if begin is None or end is None:
        return ""
    core = template[begin.start() : end.start()].strip()
    known = core.endswith(("}));", "}))")) and "</script" not in core.lower()
    return core if known and "PMREMGenerator" in core else ""


@lru_cache(maxsize=1)
def packed_three() -> str:
    """The same as gzip in base64, which is a third of it; "" where there is none."""
    script = three_script()
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode() if script else ""


def _template() -> str:
    from trimesh import resources

    try:
        packed = resources.get_bytes("templates/viewer.zip")
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            return archive.read("viewer.html.template").decode("utf-8")
    except (AttributeError, KeyError, OSError, ValueError, zipfile.BadZipFile):
        return ""
