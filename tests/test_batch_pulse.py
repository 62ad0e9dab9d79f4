"""Whether a Ray that has died is noticed: its two sockets, without Ray."""

from __future__ import annotations

import socket
import sys

import pytest

from threestudio_like.engine.errors import BatchError
from threestudio_like.runs.batch import actors
from threestudio_like.runs.batch.actors import RayCrew
from threestudio_like.runs.batch.pulse import Pulse


@pytest.fixture
def control():
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        yield line


def address(line: socket.socket) -> str:
    host, port = line.getsockname()
    return f"{host}:{port}"


def test_a_control_service_that_is_gone_is_noticed(control):
    pulse = Pulse({"gcs_address": address(control)})
    assert pulse.lost() == ""
    control.close()
    assert "control service" in pulse.lost()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="has no such sockets")
def test_a_scheduler_that_is_gone_is_noticed(tmp_path, control, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as line:
        line.bind("raylet")
        line.listen()
        pulse = Pulse({"raylet_socket_name": "raylet", "gcs_address": address(control)})
        assert pulse.lost() == ""
    # The socket's file is still there: nobody listens.
    assert "raylet" in pulse.lost()
    (tmp_path / "raylet").unlink()
    assert "raylet" in pulse.lost()


def test_what_is_only_slow_or_unknown_is_not_taken_for_dead(control, monkeypatch):
    assert Pulse({}).lost() == ""

    def slow(*place, **options):
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", slow)
    assert Pulse({"gcs_address": address(control)}).lost() == ""


class Ray:
    """As much of Ray as a crew needs: nothing ever ends."""

    class exceptions:
        RayError = RuntimeError

    def __init__(self):
        self.begun = self.ended = 0

    def is_initialized(self):
        return False

    def init(self, **settings):
        self.begun += 1
        self.address = settings["address"]
        return type("Context", (), {"dashboard_url": "", "address_info": {}})()

    def shutdown(self):
        self.ended += 1

    def remote(self, **need):
        class Actor:
            class pid:
                remote = staticmethod(object)

            class make:
                remote = staticmethod(lambda task: object())

        return lambda kind: type("Kind", (), {"remote": staticmethod(lambda work: Actor)})

    def wait(self, references, **options):
        return [], references

    def kill(self, actor, **options):
        return None


@pytest.mark.parametrize("cluster", ["", "10.0.0.1:6379"])
def test_a_ray_of_ones_own_is_begun_again_and_a_cluster_is_not(cluster, monkeypatch):
    from threestudio_like.runs.batch.items import Spec, Task

    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(actors, "PULSE", 0.0)
    crew = RayCrew(None, workers=2, address=cluster)
    # Without an address it is Ray's "local": no other cluster of this machine is taken.
    assert ray.address == (cluster or "local")
    task = Task(spec=Spec(command="x"), store="s")
    crew.submit(1, task)
    assert crew.wait(0.0) == []
    monkeypatch.setattr(Pulse, "lost", lambda self: "it has died")
    if cluster:
        with pytest.raises(BatchError, match="Ray is gone: it has died"):
            crew.wait(0.0)
        return
    for _ in range(actors.LIVES):
        ((number, outcome),) = crew.wait(0.0)
        assert (number, outcome.id, outcome.cause) == (1, task.spec.id, "worker died")
        assert not outcome.lasting
        assert crew.idle() == [0, 1]
        crew.submit(1, task)
    assert (ray.begun, ray.ended) == (1 + actors.LIVES, actors.LIVES)
    # A Ray that dies again and again without making anything is told of.
    with pytest.raises(BatchError, match="Ray is gone"):
        crew.wait(0.0)


@pytest.mark.parametrize("fails", [2, 3])
def test_a_ray_that_does_not_start_in_time_is_tried_again(fails, monkeypatch):
    class Slow(Ray):
        def init(self, **settings):
            self.begun += 1
            if self.begun <= fails:
                raise RuntimeError("timed out during startup")
            return super().init(**settings)

    ray = Slow()
    monkeypatch.setitem(sys.modules, "ray", ray)
    if fails < actors.BEGINNINGS:
        RayCrew(None, workers=1)
        assert ray.ended == fails
    else:
        with pytest.raises(BatchError, match="timed out during startup"):
            RayCrew(None, workers=1)


def test_a_cluster_that_cannot_be_reached_is_told_of_with_the_token(monkeypatch):
    class Away(Ray):
        def init(self, **settings):
            raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "ray", Away())
    with pytest.raises(BatchError) as caught:
        RayCrew(None, workers=1, address="10.0.0.1:6379")
    assert "RAY_AUTH_MODE=token" in caught.value.line()
