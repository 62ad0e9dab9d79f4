"""`batch` in this process: what is made, what is made again, what is set aside, killed drivers."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import time

import pytest

from threestudio_like.cli import main
from threestudio_like.engine.events import Events
from threestudio_like.runs.batch.crew import LocalCrew
from threestudio_like.runs.batch.drive import Driver
from threestudio_like.runs.batch.forecast import forecast_kinds, forecast_lines
from threestudio_like.runs.batch.gallery import gallery_files
from threestudio_like.runs.batch.index import Index
from threestudio_like.runs.batch.items import Item, Made, Spec
from threestudio_like.runs.batch.schedule import Schedule
from threestudio_like.runs.batch.store import Store
from threestudio_like.runs.batch.tournament import Contest, ranked

from .batches import TINY, batch, manifest, process, products, sixty


def lines(path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def test_run_twice_nothing_is_made_twice_and_a_change_makes_what_is_new(tmp_path, capsys):
    note, store = tmp_path / "note", tmp_path / "store"
    path = manifest(tmp_path / "m.yaml", {"prompt": ["a", "b"], "seeds": "0-2"}, note=str(note))
    assert batch(path, "--store", store) == 0
    assert sorted(lines(note)) == sorted(f"{p} {s}" for p in "ab" for s in range(3))
    first = products(store)
    assert batch(path, "--store", store) == 0
    assert len(lines(note)) == 6
    manifest(path, {"prompt": ["b", "c"], "seeds": [0, 2]}, {"prompt": "c"}, note=str(note))
    assert batch(path, "--store", store) == 0
    assert sorted(lines(note)[6:]) == ["c 0", "c 2"]
    assert first.items() < products(store).items()
    assert batch("verify", "--store", store) == 0
    assert main(["batch", "status", "--store", str(store), "--json"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(told)["status"] == {
        **{"done": 4, "aside": 0, "waiting": 0},
        "outside of the plan": 4,
    }


def test_an_id_follows_the_bytes_of_the_files_and_not_their_place(tmp_path):
    for folder, content in (("one", b"x"), ("two", b"x"), ("three", b"y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.bin").write_bytes(content)
        manifest(tmp_path / folder / "m.yaml", {"prompt": "p", "file": "a.bin"})
        assert batch(tmp_path / folder / "m.yaml", "--store", tmp_path / f"{folder}.store") == 0
    one, two, three = (products(tmp_path / f"{f}.store") for f in ("one", "two", "three"))
    assert one == two
    assert not one.keys() & three.keys()
    # The store alone is enough: the user's file is gone.
    (tmp_path / "one" / "a.bin").unlink()
    store = Store(str(tmp_path / "one.store"))
    (id,) = store.done()
    store.files.remove(f"done/{id[:2]}/{id}.json")
    assert batch("resume", "--store", tmp_path / "one.store") == 0
    assert products(tmp_path / "one.store") == one


def test_csv_lines_and_yaml_mean_the_same(tmp_path):
    (tmp_path / "m.csv").write_text(
        "command,prompt,seeds,steps,words\ntiny,a,0-1,7,x;y\ntiny,b,3,,\n"
    )
    rows = [
        {"command": "tiny", "prompt": "a", "seeds": "0-1", "steps": 7, "words": ["x", "y"]},
        {"command": "tiny", "prompt": "b", "seed": 3},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest(tmp_path / "m.yaml", *rows)
    found = []
    for name in ("m.csv", "m.jsonl", "m.yaml"):
        assert batch(tmp_path / name, "--store", tmp_path / f"{name}.store") == 0
        found.append(products(tmp_path / f"{name}.store"))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 3


def test_prompts_and_seeds_without_a_manifest(tmp_path):
    (tmp_path / "p.txt").write_text("# two\n\na\nb\n")
    words = ("--prompts", tmp_path / "p.txt", "--seeds", "0-1", "--command", "tiny", "--steps", 3)
    assert batch(*words, "--store", tmp_path / "one") == 0
    manifest(tmp_path / "m.yaml", {"prompt": ["a", "b"], "seeds": "0-1", "steps": 3})
    assert batch(tmp_path / "m.yaml", "--store", tmp_path / "two") == 0
    assert products(tmp_path / "one") == products(tmp_path / "two")


def test_defaults_are_for_the_commands_that_know_them(tmp_path):
    (tmp_path / "box.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    items = [{"prompt": "a"}, {"command": "evaluate", "source": "box.obj", "instances": 1}]
    path = manifest(tmp_path / "m.yaml", *items, seeds="0-1", steps=3)
    assert batch(path, "--store", tmp_path / "store", "--distil.steps", 5) == 2
    assert batch(path, "--store", tmp_path / "store") == 0
    records = [Store(str(tmp_path / "store")).record(id) for id in products(tmp_path / "store")]
    commands = sorted(record["spec"]["command"] for record in records)
    assert commands == ["evaluate", "tiny", "tiny"]


def test_a_dry_run_makes_nothing_and_knows_what_was_measured(tmp_path, capsys):
    path, store = sixty(tmp_path / "m.yaml"), tmp_path / "store"
    assert (
        main(["batch", str(path), "--store", str(store), "--dry-run", "--plugins", str(TINY)]) == 0
    )
    assert "60 items to make, 0 are there" in capsys.readouterr().out
    assert not store.exists()
    rows = forecast_kinds({"a": [100, 300], "b": [0]}, {"a": [(2.0, 100, 10), (4.0, 200, 30)]})
    assert (rows[0].seconds, rows[0].bytes, rows[1].seconds) == (4.0, 20, None)
    told = forecast_lines(rows[:1], workers=2, memory={"a": None})
    assert "8.0 s of work, 4.0 s on 2 workers" in told[-1]


def test_poisoned_items_are_set_aside_with_their_cause_and_block_nothing(tmp_path, capsys):
    store = tmp_path / "store"
    rows = [{"prompt": f"good {n}"} for n in range(4)]
    for fail in ("collapse", "memory", "error", "once"):
        rows.insert(1, {"prompt": fail, "fail": fail, "note": str(tmp_path / fail)})
    path = manifest(tmp_path / "m.yaml", *rows, {"prompt": "late", "slow": 30})
    assert batch(path, "--store", store, "--timeout", 0.5, "--retries", 1) == 2
    told = capsys.readouterr().err
    assert "4 are set aside" in told
    causes = {}
    for id in Store(str(store)).aside():
        fault = Store(str(store)).fault(id)
        causes[fault["label"]] = (fault["cause"], fault["trials"])
    assert causes == {
        "collapse": ("CollapseError", 1),
        "memory": ("MemoryShortage", 2),
        "error": ("ZeroDivisionError", 2),
        "late": ("timeout", 2),
    }
    assert [len(lines(tmp_path / f)) for f in ("collapse", "memory", "once")] == [1, 2, 2]
    assert len(products(store)) == 5
    # What was set aside is left alone, until it is asked for.
    assert batch(path, "--store", store, "--timeout", 0.5, "--retries", 1) == 2
    assert len(lines(tmp_path / "memory")) == 2
    assert batch("retry", "--failed", "--store", store, "--timeout", 0.5) == 2
    assert len(lines(tmp_path / "memory")) == 4
    events = [
        json.loads(line)["event"] for p in sorted((store / "events").iterdir()) for line in lines(p)
    ]
    assert {"batch", "begin", "made", "retry", "aside", "batch end"} <= set(events)


def test_a_driver_that_is_killed_goes_on_where_it_was(tmp_path):
    calm, wild, note = tmp_path / "calm", tmp_path / "wild", tmp_path / "note"
    path = sixty(tmp_path / "m.yaml", note=str(note), slow=0.02)
    assert batch(path, "--store", calm) == 0
    note.unlink()
    dice = random.Random(7)
    for wanted in (5, 40):
        driver = process(path, "--store", wild)
        while driver.poll() is None and len(lines(note)) < wanted:
            time.sleep(0.01)
        time.sleep(dice.random() * 0.05)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    assert batch(path, "--store", wild) == 0
    assert products(wild) == products(calm)
    # An item that was being made is made again; no other is.
    assert 60 <= len(lines(note)) <= 62
    store = Store(str(wild))
    assert store.sweep(Index.of_store(store).attempts(), alone=True) == 0
    assert batch("verify", "--store", wild) == 0


def test_ten_thousand_items_take_little_memory_and_a_restart_does_nothing(monkeypatch):
    calls = []

    class Fake:
        def prepare(self):
            pass

        def execute(self, spec, folder, inputs):
            calls.append(spec.id)
            return Made()

        def judge(self, spec, folder):
            return {}

        def steps(self, spec):
            return None

        def with_steps(self, spec, steps):
            return spec

        def kind(self, spec):
            return spec.command

        def memory(self, spec):
            return None

    def plan():
        for n in range(10_000):
            spec = Spec(command="none", values={"seed": n})
            yield Item(spec=spec, number=n + 1, label=f"item {n}"), "none", None

    class Shelf:
        """The store's files in a dictionary: fsspec's own memory looks at every key each time."""

        local = None

        def __init__(self, address):
            self.kept = {}

        def read(self, key):
            return self.kept.get(key)

        def write(self, key, data):
            self.kept[key] = data

        def create(self, key, data):
            return self.kept.setdefault(key, data) is data

        def names(self, folder):
            return [key for key in self.kept if key.startswith(f"{folder}/")]

        def remove(self, key):
            self.kept.pop(key, None)

    monkeypatch.setattr("threestudio_like.runs.batch.store.Files", Shelf)
    store = Store("shelf", make=True)
    monkeypatch.setattr("threestudio_like.runs.batch.worker.Store", lambda address: store)
    crew = LocalCrew(Fake())
    counts, kept = [], []
    for _ in range(2):
        index = Index()
        index.plan(plan())
        index.reconcile(store)
        driver = Driver(store, index, crew, work=Fake(), events=Events(None, "quiet"))
        before = len(calls)
        gc.collect()
        objects = len(gc.get_objects())
        progress = driver.run()
        kept.append(len(gc.get_objects()) - objects)
        counts.append(len(calls) - before)
        assert progress.most_in_flight <= 1
    crew.close()
    assert counts == [10_000, 0]
    # Nothing that is finished stays in the driver's memory.
    assert max(kept) < 2000
    assert index.count("done") == 10_000
    assert gallery_files(index)[1] == 10_000


def test_a_schedule_keeps_workers_warm_and_shares_what_waits():
    schedule = Schedule(retries=1)
    for n in range(6):
        schedule.add(f"a{n}", "a")
    for n in range(2):
        schedule.add(f"b{n}", "b")
    assert [schedule.take(None, [])] == ["a0"]
    assert schedule.take("a", ["a", None]) == "a1"
    assert schedule.take("b", ["a", "b"]) == "b0"
    # Four of "a" for one warm worker, one of "b" for one: a cold one takes "a".
    assert schedule.take(None, ["a", "b"]) == "a2"
    schedule.add("a3", "a")
    assert len(schedule) == 4
    assert schedule.fail("a2", lasting=False)
    assert [schedule.take("a", ["a"]) for _ in range(4)] == ["a3", "a4", "a5", "a2"]
    assert not schedule.fail("a2", lasting=False)
    assert not schedule.fail("a1", lasting=True)


def test_a_tournament_halves_its_field_by_ranks():
    assert (
        ranked([{"clip": 0.1, "fog": 0.2}, {"clip": 0.3, "fog": 0.1}, {"clip": 0.2, "fog": 0.3}])[0]
        == 1
    )
    assert ranked([{"clip": 0.9, "watchdog": 1.0}, {}, {"clip": 0.1}]) == [2, 1, 0]
    specs = tuple(Spec(command="x", values={"seed": n, "steps": 80}) for n in range(4))
    entry = Item(spec=specs[0], number=1, label="x")
    contest = Contest(entry=entry, specs=specs, steps=80)
    assert [(contest.size(r), contest.length(r)) for r in range(contest.rungs)] == [
        *[(4, 20), (2, 40)],
        (1, 80),
    ]
    assert contest.cost() == 240

    def shorter(spec, steps):
        return Spec(command=spec.command, values={**spec.values, "steps": steps})

    known: dict[str, object] = {}
    made = []
    while True:
        runs = contest.reached(shorter, known.get)
        wanted = [(rung, spec) for rung, spec in runs if spec.id not in known]
        if not wanted:
            break
        for rung, spec in wanted:
            made.append((rung, spec.seed, spec.values["steps"]))
            # Seed 2 is best, seed 3 cannot be made.
            known[spec.id] = False if spec.seed == 3 else {"clip": -abs(spec.seed - 2)}
    assert made == [*((0, s, 20) for s in range(4)), (1, 2, 40), (1, 1, 40), (2, 2, 80)]


def test_a_tournament_on_a_store_goes_on_and_shares_its_last_items(tmp_path, monkeypatch):
    from threestudio_like.commands.jobs.batch_work import CommandWork

    def judge(self, spec, folder):
        return {"clip": float(spec.seed == 2)}

    monkeypatch.setattr(CommandWork, "judge", judge)
    path = manifest(tmp_path / "m.yaml", {"prompt": ["a", "b"], "seeds": "0-3", "steps": 8})
    store = tmp_path / "store"
    assert batch(path, "--store", store, "--keep-best", 1) == 0
    first = products(store)
    assert len(first) == 2 * (4 + 2 + 1)
    assert batch(path, "--store", store, "--keep-best", 1) == 0
    assert products(store) == first
    assert (
        main([*map(str, ("batch", "export", "--best", "--store", store, "--out", tmp_path / "x"))])
        == 0
    )
    names = sorted(p.name[:4] for p in (tmp_path / "x").iterdir())
    assert names == ["a-2-", "b-2-"]
    # Without the tournament the winners are there already.
    assert batch(path, "--store", store) == 0
    assert len(products(store)) == len(first) + 6


def test_a_damaged_store_is_noticed_and_mended(tmp_path, capsys):
    path, store = sixty(tmp_path / "m.yaml"), tmp_path / "store"
    assert batch(path, "--store", store) == 0
    before = products(store)
    victims = sorted((store / "items").rglob("asset.bin"))
    victims[0].write_bytes(b"other")
    assert batch("verify", "--store", store) == 2
    assert "not the file that was written" in capsys.readouterr().err
    (store / "index.sqlite").write_bytes(b"no database")
    assert batch(path, "--store", store) == 0
    victims[0].parent.joinpath("asset.bin").unlink()
    id = victims[0].parent.parent.name
    Store(str(store)).files.remove(f"done/{id[:2]}/{id}.json")
    assert batch(path, "--store", store) == 0
    assert products(store) == before


ITEMS_OF_A_STORE = {
    "--dry-run": (),
    "--seeds": ("0-3",),
    "--command": ("texture",),
    "--system": ("dreamfusion",),
    "--prior": ("sd-1.5",),
    "--steps": ("9",),
    "--keep-best": ("1",),
    "--factor": ("3",),
    "--distil.guidance.scale": ("7",),
}


@pytest.mark.parametrize("option", ITEMS_OF_A_STORE)
def test_an_action_is_told_nothing_of_the_items_that_a_store_has(option, tmp_path, capsys):
    """`batch resume --dry-run` made them all."""
    store = tmp_path / "store"
    path = manifest(tmp_path / "m.yaml", {"prompt": "a thing"})
    assert batch(path, "--store", store) == 0
    before = sorted(store.rglob("*"))
    for action in (["resume"], ["retry", "--failed"], ["status"], ["verify"]):
        assert batch(*action, "--store", store, option, *ITEMS_OF_A_STORE[option]) == 2
        told = capsys.readouterr().err
        assert f"{option}: is of a manifest, and batch {action[0]} takes the items" in told
    assert sorted(store.rglob("*")) == before


def test_what_was_set_aside_is_tried_as_often_as_is_asked_now(tmp_path, monkeypatch):
    from threestudio_like.commands.jobs import batch as module

    seen = []
    monkeypatch.setattr(module, "_drive", lambda job, stack: seen.append(job.retries) or "")
    store, path = tmp_path / "store", manifest(tmp_path / "m.yaml", {"prompt": "a thing"})
    assert batch(path, "--store", store, "--retries", "4") == 0
    assert batch("resume", "--store", store) == 0
    assert batch("retry", "--failed", "--store", store, "--retries", "0") == 0
    assert seen == [4, 4, 0]


@pytest.mark.parametrize("words", [["--seed", "1"], ["--out", "x"], ["export"], ["status"], ["x"]])
def test_options_that_mean_nothing_are_refused(words, capsys):
    assert main(["batch", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
