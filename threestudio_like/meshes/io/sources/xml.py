"""What every reader of XML refuses: definitions of entities, which can unfold without end or name
other files."""

from __future__ import annotations

from ....engine.errors import InputError


def check_xml(data: bytes, where: str) -> None:
    """Raises InputError where a text of XML has a document type or is in an encoding in which that
    cannot be seen."""
    if b"\0" in data[:64]:
        raise InputError("is XML in an unusual encoding", where, "Save it again as UTF-8")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise InputError(
            "is XML with a document type, which is not read", where, "Remove the <!DOCTYPE …>"
        )
