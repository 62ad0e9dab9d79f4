"""The picture of the imports in docs/architecture.md is that of the code; no arrow points up."""

import importlib.util
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def script():
    spec = importlib.util.spec_from_file_location("import_graph", ROOT / "docs/import_graph.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["import_graph"] = module
    spec.loader.exec_module(module)
    return module


GRAPH = script()


def test_no_import_points_up():
    assert GRAPH.upward(GRAPH.graph()) == []


def test_the_drawn_graph_is_that_of_the_code():
    """After a change: python docs/import_graph.py"""
    known = json.loads(GRAPH.DATA.read_text(encoding="utf-8"))
    assert GRAPH.stale(GRAPH.graph(), known) == []
    assert GRAPH.PICTURE.read_text(encoding="utf-8") == GRAPH.picture(known)


def test_an_arrow_up_and_a_missing_arrow_are_noticed():
    graph = GRAPH.graph()
    wrong = {**graph, "engine": {**graph["engine"], "cli": 1}}
    assert ("engine", "cli") in GRAPH.upward(wrong)
    assert GRAPH.stale(wrong, graph) == ["engine -> cli: 1 modules, drawn with 0"]
    assert "#e0103a" in GRAPH.picture(wrong)


def test_a_batch_knows_no_run_and_no_method():
    """It serves whatever registers as a command, on machines that know nothing of its driver."""
    for path in (ROOT / GRAPH.PACKAGE / "runs" / "batch").glob("*.py"):
        above = set(re.findall(r"^\s*from \.\.\.?(\w*)", path.read_text(encoding="utf-8"), re.M))
        assert above <= {"engine"}, path.name


def test_every_room_is_in_the_graph_and_in_the_page():
    package = ROOT / GRAPH.PACKAGE
    folders = {p.name for p in package.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders | {"cli"} == set(GRAPH.ROOMS) == set(GRAPH.IDEAS)
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert "(pictures/import-graph.svg)" in page
    for room in GRAPH.ROOMS:
        assert re.search(rf"(?m)^\| `{room}(/|\.py)`", page), room
