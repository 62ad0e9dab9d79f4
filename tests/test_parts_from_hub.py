"""LoRAs and IP-Adapters that are named as the hub names them, on the library's own cache."""

from __future__ import annotations

import errno
import importlib
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.test_personal_parts import COMMAND, one_lora
from tests.twins import save_twin
from threestudio_like.cli import main
from threestudio_like.commands.parsing import parse
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.personal.choice import PersonalParts
from threestudio_like.priors.personal.from_hub import (
    HubPart,
    adapter_path,
    complete_encoder,
    lora_path,
)
from threestudio_like.priors.registry import resolve

CLIENT = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
"""The library's client, whichever its version has."""
Unreachable: type[Exception] = getattr(CLIENT, "ConnectError", OSError)
"""What comes of a machine without a network."""


class FullDisk(OSError):
    errno = errno.ENOSPC
    strerror = "No space left on device"


class Hub:
    """A hub of folders, which counts what is asked of it."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.asked: list[str] = []
        self.taken: list[str] = []
        self.error: type[Exception] | None = None

    def names(self, name: str) -> list[str]:
        self.asked.append(name)
        if self.error is not None:
            # What they are made with differs between versions of the library.
            raise self.error.__new__(self.error, "no")
        folder = self.root / name
        return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]

    def fill(self, name: str, files: list[str]) -> Path:
        """Put files into the cache as the library does."""
        own = self.cache / f"models--{name.replace('/', '--')}"
        (own / "refs").mkdir(parents=True, exist_ok=True)
        (own / "refs" / "main").write_text("abc")
        for file in files:
            target = own / "snapshots" / "abc" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / name / file, target)
        self.taken += files
        return own / "snapshots" / "abc"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub", tmp_path / "cache")
    made.cache.mkdir()
    plain = huggingface_hub.snapshot_download

    def download(name, allow_patterns=None, local_files_only=False, **_):
        if local_files_only:
            return plain(name, cache_dir=made.cache, local_files_only=True)
        return str(made.fill(name, allow_patterns))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", made.names)
    monkeypatch.setenv("THREESTUDIO_LIKE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return made


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("text", "repository", "file"),
    [
        ("owner/name", "owner/name", ""),
        ("owner/a.b-c_d", "owner/a.b-c_d", ""),
        ("owner/name/x.safetensors", "owner/name", "x.safetensors"),
        ("owner/name/a/b/x.safetensors", "owner/name", "a/b/x.safetensors"),
    ],
)
def test_a_hub_id_is_read(text, repository, file, hub):
    assert HubPart.of(Path(text)) == HubPart(repository, file)


@pytest.mark.parametrize(
    "text",
    [
        "x.safetensors",
        "../owner/name",
        "~/owner/name",
        "/owner/name",
        "folder/x.safetensors",
        "here/x",
        "here/sub/missing.safetensors",
        "owner/name/../x.safetensors",
        "owner/name/readme.txt",
        "own er/name",
    ],
)
def test_a_path_is_never_a_hub_id(text, hub, tmp_path):
    """Also one that misses in a folder that is there, which is a slip of the pen."""
    (tmp_path / "here" / "sub").mkdir(parents=True)
    assert HubPart.of(Path(text)) is None
    with pytest.raises(ModelError):
        PersonalParts(lora=(Path(text),)).facts()
    assert not hub.asked


def test_a_prior_that_misses_in_a_folder_is_not_asked_for(hub, tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(ModelError, match='no model "here/x"'):
        resolve("here/x")
    with pytest.raises(ModelError):
        resolve("./owner/name")
    assert not hub.asked


def test_a_dot_before_a_name_means_this_machine(hub):
    asked = parse("generate", ["a chair", "--lora", "./owner/name", "--ip-adapter=./owner/other"])
    assert HubPart.of(asked.model.lora[0]) is None
    assert asked.model.ip_adapter is not None
    assert HubPart.of(asked.model.ip_adapter) is None


def test_what_the_cache_holds_is_not_asked_for(hub):
    put(hub.root / "owner" / "name" / "sub" / "x.safetensors")
    hub.fill("owner/name", ["sub/x.safetensors"])
    found = lora_path(Path("owner/name/sub/x.safetensors"))
    assert found.read_bytes() == b"x"
    assert not hub.asked


def test_the_models_folder_is_looked_at_first(hub, tmp_path):
    put(tmp_path / "models" / "owner--name" / "x.safetensors", b"mine")
    assert lora_path(Path("owner/name/x.safetensors")).read_bytes() == b"mine"
    assert lora_path(Path("owner/name")).read_bytes() == b"mine"
    assert not hub.asked


def test_what_is_missing_is_downloaded_and_nothing_else(hub):
    folder = hub.root / "owner" / "name"
    for name in ("x.safetensors", "y.safetensors", "adapter_config.json", "big.ckpt"):
        put(folder / name)
    assert lora_path(Path("owner/name/x.safetensors")).is_file()
    assert hub.taken == ["x.safetensors", "adapter_config.json"]
    assert lora_path(Path("owner/name/y.safetensors")).is_file()
    assert lora_path(Path("owner/name/x.safetensors")).is_file()
    assert hub.asked == ["owner/name"] * 2


def test_a_repository_alone_means_its_usual_or_only_file(hub):
    put(hub.root / "owner" / "usual" / "pytorch_lora_weights.safetensors")
    put(hub.root / "owner" / "usual" / "other.safetensors")
    put(hub.root / "owner" / "only" / "x.safetensors")
    assert lora_path(Path("owner/usual")).name == "pytorch_lora_weights.safetensors"
    assert lora_path(Path("owner/only")).name == "x.safetensors"
    put(hub.root / "owner" / "several" / "x.safetensors")
    put(hub.root / "owner" / "several" / "y.safetensors")
    with pytest.raises(ModelError, match=r"It has: (x|y).safetensors, (x|y).safetensors"):
        lora_path(Path("owner/several"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError, "is gated"),
        (RepositoryNotFoundError, "not on the hub"),
        (None, "has no x.safetensors"),
        (OSError, "no network"),
        (Unreachable, "no network"),
        (FullDisk, "could not be kept: No space left on device"),
    ],
)
@pytest.mark.parametrize("option", ["--lora", "--ip-adapter"])
def test_what_cannot_be_had_is_one_line(option, error, words, hub, tmp_path, capsys, sd):
    put(hub.root / "owner" / "name" / "z.safetensors")
    hub.error = error
    from PIL import Image

    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "photo.png")
    more = [option, "owner/name/x.safetensors"]
    more += ["--like", str(tmp_path / "photo.png")] if option == "--ip-adapter" else []
    code = main(
        ["generate", "a red chair", "--prior", str(sd), "--out", str(tmp_path / "out"), *more]
    )
    told = capsys.readouterr().err.strip().splitlines()
    assert (code, len(told), (tmp_path / "out").exists()) == (2, 1, False), told
    assert words in told[0]
    assert option in told[0]
    assert "toybox" not in told[0]


def test_without_a_network_one_mirror_is_tried(hub):
    """Each would take half a minute of tries."""
    hub.error = Unreachable
    with pytest.raises(ModelError, match="no network"):
        resolve("sd-1.5")
    assert len(hub.asked) == 1


def test_a_pickle_of_the_hub_is_refused_before_it_is_asked(hub):
    with pytest.raises(ModelError, match="pickled"):
        lora_path(Path("owner/name/x.ckpt"))
    assert not hub.asked


def test_an_adapter_comes_with_the_encoder_that_it_wants(hub):
    """The publication's layout: adapters of two families, an encoder beside each."""
    folder = hub.root / "h94" / "IP-Adapter"
    for part in ("models", "sdxl_models"):
        put(folder / part / "image_encoder" / "config.json", b"{}")
        put(folder / part / "image_encoder" / "model.safetensors")
        put(folder / part / "image_encoder" / "pytorch_model.bin")
    put(folder / "models" / "ip-adapter_sd15.safetensors")
    put(folder / "models" / "ip-adapter_sd15.bin")
    chosen = Path("h94/IP-Adapter")
    part = HubPart.of(chosen)
    assert part is not None
    file = adapter_path(part, "models/ip-adapter_sd15.safetensors")
    assert file.name == "ip-adapter_sd15.safetensors"
    assert sorted(hub.taken) == [
        "models/image_encoder/config.json",
        "models/ip-adapter_sd15.safetensors",
        "sdxl_models/image_encoder/config.json",
    ]
    complete_encoder(chosen, file, file.parent)
    assert (file.parent / "image_encoder" / "model.safetensors").is_file()
    assert not list(hub.cache.rglob("*.bin"))
    assert len(hub.asked) == 2
    complete_encoder(chosen, file, file.parent)
    adapter_path(part, "models/ip-adapter_sd15.safetensors")
    assert len(hub.asked) == 2
    assert part.revision() == "h94/IP-Adapter@abc/"


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return save_twin("sd", tmp_path_factory.mktemp("hub") / "sd")


def test_a_run_takes_a_lora_of_the_hub(hub, sd, tmp_path):
    import yaml

    folder = hub.root / "owner" / "name"
    folder.mkdir(parents=True)
    one_lora(folder / "mine.safetensors")
    made = []
    for k, lora in enumerate(("owner/name/mine.safetensors", str(folder / "mine.safetensors"))):
        out = tmp_path / f"run{k}"
        arguments = ["generate", "a red chair", "--prior", str(sd), "--out", str(out)]
        assert main([*arguments, "--lora", lora, *COMMAND]) == 0
        record = yaml.safe_load((out / "run.yaml").read_text())
        made.append((record["parts"], (out / "asset.glb").read_bytes()))
    assert made[0] == made[1]
    assert hub.asked == ["owner/name"]
