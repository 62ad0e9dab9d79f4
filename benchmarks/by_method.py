"""What each method of `reconstruct` makes of the same pictures: held-out toybox objects, and things
that the embedded world has no words for, of another generator and another renderer. How near the
truth it is, whether the word about it is right, and how long it takes.

`auto` is the default: the shape that `by_auto` takes, with what CISP had sampled for this picture
before, so that its seconds are those of its choice alone and of the relief where it falls back on
one. Right, between and wrong are those of `verdicts`.

Resumable: every finished result is a line of outputs/benchmark/by_method/lines.jsonl.

Run: python benchmarks/by_method.py [--toybox 60] [--unknown 40] [--minutes 60]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

from by_default import TRUTHS, cell
from tables import ROOT, publish, table
from verdict_cases import WORLDS, Line, coloured, shown_iou, volume_iou
from verdicts import WORDS, state

LINES = ROOT / "outputs" / "benchmark" / "by_method" / "lines.jsonl"
METHODS = ("cisp", "relief", "g3dr", "auto")
MEASURES = {
    "silhouette": "silhouette IoU",
    "psnr": "PSNR inside, dB",
    "shown": "30° to both sides",
    "volume": "volume IoU",
    "CPU seconds": "CPU seconds",
}


@dataclass
class Tried:
    """A picture, and the shapes that were made of it by method."""

    world: str
    index: int
    case: Any
    photo: Any
    request: Any
    found: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)


def tried(world: str, index: int) -> Tried:
    """A picture as `reconstruct` begins with it: guessed at, nothing told."""
    from threestudio_like.systems.image_to_3d.caption import guess_caption
    from threestudio_like.systems.image_to_3d.method import PictureRequest
    from threestudio_like.systems.image_to_3d.photo import photo_of

    case = WORLDS[world](index)
    photo = photo_of(case.pixels, f"{world} {index}", {})
    guess = guess_caption(photo)
    request = PictureRequest(
        photo=photo,
        prompt=guess.text if guess.sure else "",
        sure=guess.sure,
        maybe=guess.maybe,
    )
    return Tried(world, index, case, photo, request)


def shape(one: Tried, method: str) -> tuple[Any, str]:
    """The shape that a method makes, and the method that it is of."""
    from threestudio_like.commands.jobs.picture.choice import by_auto
    from threestudio_like.engine.errors import CollapseError
    from threestudio_like.systems.image_to_3d.cisp import CispReconstruction
    from threestudio_like.systems.image_to_3d.g3dr import G3drReconstruction
    from threestudio_like.systems.image_to_3d.relief.reconstruction import ReliefReconstruction

    if method == "auto":
        sampled = one.found.get("cisp")

        class Sampled(CispReconstruction):
            """CISP's reconstruction, whose shape is there already."""

            def result(self, request: Any, folders: Any) -> Any:
                if sampled is None:
                    raise CollapseError("has no shape", "cisp", "")
                return sampled

        _, found, took = by_auto(Sampled(), one.request)
        return found, took
    systems: dict[str, Any] = {
        "cisp": CispReconstruction,
        "relief": ReliefReconstruction,
        "g3dr": G3drReconstruction,
    }
    return systems[method]().result(one.request, {}), method


def work(one: Tried, method: str) -> Line:
    """One result with its figures, its word and its truth."""
    from threestudio_like.engine.errors import CollapseError
    from threestudio_like.systems.image_to_3d.fit import measure_fit, with_word

    line: Line = {
        "world": one.world,
        "index": one.index,
        "category": one.case.category,
        "method": method,
    }
    began = time.process_time()
    try:
        found, line["took"] = shape(one, method)
    except CollapseError as error:
        return {**line, "failed": error.line()}
    one.found[method] = found
    asset, seen = coloured(found, one.photo)
    one.spent[method] = time.process_time() - began
    line["CPU seconds"] = one.spent[method]
    if line["took"] == "cisp" and method == "auto":
        line["CPU seconds"] += one.spent["cisp"]
    fit = measure_fit(found, one.photo, asset=asset, seen=seen, depth="toybox")
    fit = with_word(fit, line["took"])
    line |= {"word": fit.word, "silhouette": fit.silhouette, "psnr": fit.psnr, "seen": fit.seen}
    line["shown"], line["volume"] = shown_iou(found, one.case), volume_iou(found, one.case)
    return line


def report(lines: list[Line], command: str) -> None:
    """docs/results/by_method.md."""
    good = [x for x in lines if "failed" not in x]
    rows: list[list[Any]] = []
    words: list[list[Any]] = []
    both = list(itertools.product(TRUTHS, WORDS))
    for world, method in itertools.product(WORLDS, METHODS):
        some = [x for x in good if x["world"] == world and x["method"] == method]
        if not some:
            continue
        collapsed = sum(
            x["world"] == world and x["method"] == method for x in lines if "failed" in x
        )
        rows.append([world, method, len(some), collapsed, *(cell(some, k) for k in MEASURES)])
        pairs = [(state(x), x["word"]) for x in some]
        words.append([world, method, *(pairs.count(pair) for pair in both)])
    body = (
        f"{len({(x['world'], x['index']) for x in lines})} pictures of one thing each, 95 % "
        "bootstrap intervals over pictures. Volume IoU is measured in the picture's camera; of a "
        "relief most of it is what no picture shows. `collapsed` ended with an error.\n\n"
    )
    body += table(["pictures", "method", "results", "collapsed", *MEASURES.values()], rows)
    took = [x["took"] for x in good if x["method"] == "auto"]
    body += (
        f"\n\nOf {len(took)} pictures `auto` took CISP's shape for {took.count('cisp')} and a "
        f"relief for {took.count('relief')}.\n\nThe word about the result by what is true:\n\n"
    )
    head = ["pictures", "method", *(f"{truth}: {word}" for truth, word in both)]
    body += table(head, words)
    longest = max(good, key=lambda x: x["CPU seconds"])
    body += (
        f"\n\nThe longest took {longest['CPU seconds']:.0f} CPU seconds ({longest['method']}, "
        f"{longest['world']} {longest['index']}); goal: 90 s on two cores."
    )
    publish("by_method", "Pictures by method", command, body, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toybox", type=int, default=60, help="pictures of held-out objects")
    parser.add_argument("--unknown", type=int, default=40, help="pictures of unknown things")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after")
    a = parser.parse_args()
    LINES.parent.mkdir(parents=True, exist_ok=True)
    read = LINES.read_text().splitlines() if LINES.is_file() else []
    lines = [json.loads(text) for text in read]
    done = {(x["world"], x["index"]) for x in lines}
    began = time.monotonic()
    counts = {"toybox": a.toybox, "unknown": a.unknown}
    for index, world in itertools.product(range(max(counts.values())), counts):
        if index >= counts[world] or (world, index) in done:
            continue
        if time.monotonic() - began > 60 * a.minutes:
            break
        one = tried(world, index)
        new = [work(one, method) for method in METHODS]
        with open(LINES, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in new)
        lines += new
        print(world, index, [round(x.get("shown", 0), 2) for x in new], flush=True)
    report(lines, f"python benchmarks/by_method.py --toybox {a.toybox} --unknown {a.unknown}")


if __name__ == "__main__":
    main()
