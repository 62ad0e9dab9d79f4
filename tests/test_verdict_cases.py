"""The pictures and the arithmetic of benchmarks/verdicts.py."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_kind_of_unknown_thing_is_a_closed_body(benchmarks):
    import unknown_things

    for index, name in enumerate(unknown_things.KINDS):
        thing = unknown_things.unknown(index)
        assert thing.category == name
        solid = trimesh.Trimesh(thing.vertices, thing.faces, process=False)
        solid.merge_vertices()
        assert solid.is_watertight, name
        assert solid.volume > 0, name
        again = unknown_things.unknown(index)
        assert np.array_equal(again.vertices, thing.vertices)
        other = unknown_things.unknown(index + len(unknown_things.KINDS))
        assert other.category == name
        assert not np.array_equal(other.vertices, thing.vertices)


def test_poor_cuts_miss_the_object_and_leave_the_colours(benchmarks):
    import verdict_cases

    case = verdict_cases.toybox(3)
    alpha = case.pixels[..., 3] > 0.5
    for index in range(len(verdict_cases.POOR_CUTS)):
        cut = verdict_cases.poorly_cut(case.pixels, index)
        assert np.array_equal(cut[..., :3], case.pixels[..., :3])
        poor = cut[..., 3] > 0.5
        overlap = (alpha & poor).sum() / (alpha | poor).sum()
        assert 0.2 < overlap < 0.9
    assert np.array_equal(verdict_cases.given(case, "relief", 0), case.pixels)


def test_shares_have_the_exact_interval(benchmarks):
    from verdicts import rates, share

    # The rule of three: of none in n, at most about 3 / n (3.7 / n for a two-sided interval).
    assert share(["doubtful"] * 60, "fits") == "0.0 % (0 of 60; 95 % interval 0.0 to 6.0 %)"
    assert share(["fits"] * 2 + ["doubtful"] * 2, "fits").startswith("50.0 % (2 of 4; 95 % inter")
    assert share([], "fits") == "none"
    from threestudio_like.systems.image_to_3d.fit import Limit

    limits = {"silhouette": Limit(0.9, 0.8)}
    line = {"method": "cisp", "silhouette": 0.95, "shown": 0.5}
    assert rates([line, {**line, "shown": 0.9}], limits)[0].startswith("100.0 % (1 of 1")
    alarm = {**line, "silhouette": 0.7, "shown": 0.9}
    assert rates([alarm, alarm, {**line, "shown": 0.8}], limits)[1].startswith("66.7 % (2 of 3")


def test_what_figures_cannot_see_calibrates_nothing(benchmarks):
    from verdicts import UNSEEN, seen_faults

    lines = [{"method": m} for m in ("cisp", *UNSEEN, "relief")]
    assert [x["method"] for x in seen_faults(lines)] == ["cisp", "relief"]


def test_what_fits_a_cut_out_that_is_not_sure_is_doubtful(benchmarks):
    from verdicts import word_of

    from threestudio_like.systems.image_to_3d.fit import Limit

    limits = {"silhouette": Limit(0.9, 0.8)}
    for value, sure, word in (
        (0.95, True, "fits"),
        (0.95, False, "doubtful"),
        (0.85, False, "doubtful"),
        (0.7, False, "does not fit"),
    ):
        assert word_of({"silhouette": value, "sure": sure}, limits) == word


def test_a_picture_before_clutter_shows_its_object_and_has_no_alpha(benchmarks):
    import verdict_cases

    case = verdict_cases.unknown(3)
    one, again = (verdict_cases.given(case, "found cut", 3) for _ in range(2))
    assert one.shape[2] == 3
    assert np.array_equal(one, again)
    assert not np.array_equal(one, verdict_cases.given(case, "found cut", 4))
