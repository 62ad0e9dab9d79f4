"""report.html: one file that opens anywhere and asks for nothing: the asset to turn, what it was
compared with, figures with their meaning, what was changed, and the command that makes it again."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.output import write_file
from ..engine.text import duration
from ..meshes.mesh import Asset
from ..meshes.page import SEALED, STYLE, mesh_page, turnable
from .curves import curves
from .meanings import meaning, value_text
from .pictures import small_address

REPORT_STYLE = """
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:12px;
margin:18px 0 4px}
.card{background:#fff;border:1px solid #e2dfd9;border-left:5px solid #77726a;border-radius:8px;
padding:10px 14px}.card b{display:block;font-size:17px}.card p{margin:2px 0 0;font-size:14px}
.card.good{border-left-color:#3c7a46}.card.doubt{border-left-color:#b9770e}
.card.bad{border-left-color:#b4432f}
figure{margin:0}figcaption{font-size:13.5px;color:#67625b;margin:4px 0 12px}
.pairs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));
gap:0 28px}.compare{max-width:500px}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));
gap:0 24px}.pair{position:relative;--at:50%}
.pair img{display:block;width:100%;image-rendering:auto}
.pair img+img{position:absolute;inset:0;clip-path:inset(0 0 0 var(--at))}
.pair .divider{top:0;bottom:0}.compare input{width:100%;accent-color:#b4432f}
.wide{overflow-x:auto}.wide img{max-width:none;width:max(100%,720px)}
.figures td:nth-child(2){font-variant-numeric:tabular-nums;font-weight:600;color:#23211e}
.figures td:nth-child(3){color:#67625b;font-size:14px}
.command{display:flex;gap:10px;align-items:flex-start}
.command pre{flex:1;margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
code{font-size:.93em;overflow-wrap:anywhere}
ul{margin:6px 0;padding-left:20px}
@media(max-width:600px){.figures tr{display:grid;grid-template-columns:1fr auto;gap:0 10px;
padding:4px 0;border-bottom:1px solid #e6e3dd}.figures td{padding:0}
.figures td:nth-child(3){grid-column:1/3}}
@media print{.compare{max-width:none}.pair{display:grid;grid-template-columns:1fr 1fr;gap:8px}
.pair img+img{position:static;clip-path:none}.pair .divider,.compare input,.command button
{display:none}.wide img{width:100%}.card,.command pre{break-inside:avoid}}
"""
SCRIPT = """(function () {
  "use strict";
  for (const pair of document.querySelectorAll(".compare")) {
    const slider = pair.querySelector("input");
    slider.addEventListener("input", () =>
      pair.querySelector(".pair").style.setProperty("--at", slider.value + "%"));
  }
  const copy = document.getElementById("copy");
  if (!navigator.clipboard) copy.hidden = true;
  copy.addEventListener("click", () => navigator.clipboard
    .writeText(document.getElementById("again").textContent)
    .then(() => { copy.textContent = "Copied"; }, () => { copy.textContent = "Not allowed"; }));
})();"""
CLASSES = {"fits": "good", "doubtful": "doubt", "does not fit": "bad"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two pictures (H, W, 3) uint8 of one size, each over the other behind a divider, with a word
    for each."""

    title: str
    first: np.ndarray
    second: np.ndarray
    words: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value of the configuration that is not the default: by "you" or by the "preset"."""

    name: str
    value: Any
    default: Any
    by: str


@dataclass(kw_only=True)
class Report:
    """What a report shows.

    Attributes:
        title: of the page. asset: to be turned. before: what it was made of, in the same frame.
        sheet: contact sheet (H, W, 3) uint8.
        made: one line on how it was made.
        fit, fit_line: the word for how it fits its input, or "", and what was measured.
        verified: what the comparison of the written file said.
        doubts: what was lost, warned of or doubtful, a line each.
        figures: name -> value, in order. events: of events.jsonl.
        repeat: the command that makes it again. changes: against the defaults.
        configuration: run.yaml's text.
        compared: pictures beside their rendering. pictures: more (H, W, 3) uint8 by their titles.
    """

    title: str
    asset: Asset
    sheet: np.ndarray
    made: str = ""
    before: Asset | None = None
    fit: str = ""
    fit_line: str = ""
    verified: str = ""
    doubts: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[dict[str, Any]] = ()
    repeat: str = ""
    changes: Sequence[Change] = ()
    configuration: str = ""
    compared: Sequence[Comparison] = ()
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_report(path: Path, report: Report) -> None:
    """Write the page. Raises OutputError."""
    title = html.escape(report.title)
    compared = "".join(map(_compared, report.compared))
    compared = f'<div class="pairs">{compared}</div>' if compared else ""
    text = f"""<!doctype html><html lang="en"><head>{SEALED}
<title>{title}</title><style>{STYLE}{REPORT_STYLE}</style></head><body><main>
<h1>{title}</h1><div class="muted">{html.escape(report.made)}</div>
{_cards(report)}
{turnable(report.asset, "clamp(280px, 56vw, 560px)", before=report.before)}
{compared}
<h2>From eight sides</h2><div class="wide"><img alt="The asset from eight sides, with its colours
above and as clay below" src="{small_address(report.sheet)}"></div>
{_pictures(report.pictures)}
<h2>Figures</h2>{_figures(report.figures)}
<h2>Make it again</h2>{_again(report)}
<h2>How it went</h2>{_times(report.events)}
<details><summary>Losses over the steps</summary>{curves(report.events)}</details>
</main><script>{SCRIPT}</script></body></html>"""
    write_file(path, text.encode("utf-8"))


def _cards(report: Report) -> str:
    """The verdicts in words."""
    cards: list[tuple[str, str, str | list[str]]] = []
    if report.fit:
        words = {"fits": "Fits its picture", "doubtful": "Doubtful"}
        word = words.get(report.fit, "Does not fit its picture")
        cards.append((CLASSES.get(report.fit, "bad"), word, report.fit_line))
    elif report.fit_line:
        cards.append(("", "How well", report.fit_line))
    if report.verified:
        cards.append(("good", "The file is whole", report.verified))
    if report.doubts:
        shown = report.doubts[:6]
        more = len(report.doubts) - len(shown)
        last = [f"and {more} more in events.jsonl"] if more else []
        cards.append(("doubt", "Lost or doubtful", [*shown, *last]))
    else:
        cards.append(("good", "Nothing was lost", "No warning, and the files hold all of it."))
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _card(kind: str, word: str, text: str | list[str]) -> str:
    if isinstance(text, str):
        body = f"<p>{html.escape(text)}</p>"
    else:
        body = "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in text) + "</ul>"
    return f'<div class="card {kind}"><b>{html.escape(word)}</b>{body}</div>'


def _compared(pair: Comparison) -> str:
    first, second = (html.escape(word) for word in pair.words)
    return f"""<section><h2>{html.escape(pair.title)}</h2>
<figure class="compare"><div class="pair">
<img alt="{first}" src="{small_address(pair.first)}">
<img alt="{second}" src="{small_address(pair.second)}"><div class="divider"></div></div>
<input type="range" min="0" max="100" value="50"
aria-label="How much of {first} is shown over {second}">
<figcaption>Left: {first}. Right: {second}.</figcaption></figure></section>"""


def _pictures(pictures: Mapping[str, np.ndarray]) -> str:
    """Rows of views in the page's whole width; other pictures beside each other."""
    rows, others = [], []
    for name, pixels in pictures.items():
        said = html.escape(name)
        shown = f'<img alt="{said}" src="{small_address(pixels)}">'
        if pixels.shape[1] > 2 * pixels.shape[0]:
            rows.append(f'<h2>{said}</h2><div class="wide">{shown}</div>')
        else:
            others.append(f"<section><h2>{said}</h2>{shown}</section>")
    return "".join(rows) + (f'<div class="small">{"".join(others)}</div>' if others else "")


def _figures(figures: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(value_text(name, value))}</td>"
        f"<td>{html.escape(meaning(name))}</td></tr>"
        for name, value in figures.items()
    )
    return f'<table class="figures">{rows}</table>'


def _again(report: Report) -> str:
    """The command, the differences from the defaults, and all of run.yaml, folded."""
    command = f"""<div class="command"><pre id="again">{html.escape(report.repeat)}</pre>
<button id="copy">Copy</button></div>"""
    rows = "".join(
        f"<tr><td><code>--{html.escape(c.name)}</code></td><td>{html.escape(str(c.value))}</td>"
        f"<td>{html.escape(str(c.default))}</td><td>{html.escape(c.by)}</td></tr>"
        for c in report.changes
    )
    changes = (
        f"<table><tr><th>value</th><th>here</th><th>default</th><th>by</th></tr>{rows}</table>"
        if rows
        else "<p>Every value is the default.</p>"
    )
    return f"""{command}
<details><summary>{_counted(len(report.changes))}</summary>
<div class="wide">{changes}</div></details>
<details><summary>The whole configuration (run.yaml)</summary>
<pre>{html.escape(report.configuration)}</pre></details>"""


def _counted(count: int) -> str:
    if count == 0:
        return "No value differs from the defaults"
    return f"{count} value{'s differ' if count > 1 else ' differs'} from the defaults"


def _times(events: Sequence[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(e['stage'])}</td><td>{e['step']:,} steps</td>"
        f"<td>{duration(e['seconds'])}</td></tr>"
        for e in events
        if e["event"] == "stage-end"
    )
    return f"<table>{rows}</table>" if rows else '<p class="muted">No stage was optimised.</p>'


__all__ = ["Change", "Comparison", "Report", "mesh_page", "write_report"]
