"""The editions of the toybox by name, and which of them a model's folder knows."""

from __future__ import annotations

import json
from pathlib import Path

from ..engine.errors import ConfigError, ModelError, did_you_mean
from ..engine.output import write_file
from .edition import Edition
from .fifty import FIFTY
from .twenty import TWENTY

EDITIONS: tuple[Edition, ...] = (TWENTY, FIFTY)
DEFAULT = TWENTY
"""The edition of models without a card."""
CARD = "world.json"
"""The file in a model's folder that names the edition that it was trained on."""
_CARDS = (CARD, "prior.json")


def edition(name: str, where: str = "--world") -> Edition:
    """An edition by name. Raises ConfigError."""
    for one in EDITIONS:
        if one.name == name:
            return one
    names = [one.name for one in EDITIONS]
    raise ConfigError(
        f'there is no world "{name}" in this version',
        where,
        did_you_mean(name, names) or f"There are: {', '.join(names)}",
    )


def write_card(folder: Path, world: Edition) -> None:
    """Note in a model's folder which edition it knows. Raises OutputError."""
    write_file(folder / CARD, json.dumps({"world": world.name}).encode(), force=True)


def edition_of(folder: Path) -> Edition:
    """The edition that a model knows, by its card or its prior.json; the default one for a model
    that says nothing. Raises ConfigError, ModelError."""
    path = next((folder / name for name in _CARDS if (folder / name).is_file()), None)
    if path is None:
        return DEFAULT
    try:
        name = str(json.loads(path.read_text(encoding="utf-8")).get("world", DEFAULT.name))
    except (OSError, ValueError, AttributeError):
        raise ModelError("the card is damaged", str(path), "Train it anew") from None
    return edition(name, str(path))
