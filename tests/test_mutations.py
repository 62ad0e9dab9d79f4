"""The table of benchmarks/mutations.py names code and tests that exist."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def table():
    spec = importlib.util.spec_from_file_location("mutations", ROOT / "benchmarks/mutations.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations"] = module
    spec.loader.exec_module(module)
    return module


MODULE = table()


@pytest.mark.parametrize(
    "mutation", MODULE.MUTATIONS, ids=[f"{n}-{m.file}" for n, m in enumerate(MODULE.MUTATIONS)]
)
def test_a_mutation_has_its_place_and_its_test(mutation):
    assert mutation.old != mutation.new
    ast.parse(MODULE.mutated(mutation))
    file, name = mutation.test.split("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_text_that_is_not_there_once_is_refused():
    for old in ("no such line of code", "import"):
        mutation = MODULE.Mutation(file="engine/loop.py", old=old, new="x", test="t")
        with pytest.raises(ValueError, match=r"engine/loop.py has \d+ times"):
            MODULE.mutated(mutation)
