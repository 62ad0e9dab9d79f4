"""`translate`: reads a threestudio configuration, and prints and writes ours."""

from __future__ import annotations

from ...engine.errors import ConfigError
from ...engine.output import write_file
from ...engine.text import json_text, printable
from ..translate import Translate
from ..translation.report import as_plain, lines_of, markdown, summary
from ..translation.translator import translate


def translate_file(options: Translate) -> None:
    """Translate a file.

    Raises:
        InputError: it is no threestudio configuration.
        ConfigError: nothing here can run it; its lines have been printed.
        OutputError: the file cannot be written, or is there already.
    """
    if options.table:
        print(markdown())
        return
    made = translate(options.path, options.overrides)
    if options.json:
        print(json_text(as_plain(made), indent=1))
    else:
        shown = [
            text
            for line, text in zip(made.lines, lines_of(made))
            if not options.lost or line.verdict in ("part", "none")
        ]
        print("\n".join(printable(text) for text in [*shown, summary(made)]))
    if made.target is None:
        raise ConfigError(
            f"no command here can run it: {made.reason}",
            str(options.path),
            "The lines above say what maps; docs/threestudio.md has the table",
        )
    if options.out is not None:
        write_file(options.out, made.yaml().encode(), force=options.force)
    elif not options.json:
        print(f"\n{made.yaml()}", end="")
    if not options.json:
        print()
        print(printable(f"Run it: {made.command(str(options.out or 'run.yaml'))}"))
