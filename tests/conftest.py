"""Shared fixtures. Tests run offline, on the CPU, one thread a process (two processes run side by
side)."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import re
import socket
from pathlib import Path

import pytest
import torch

COLLECTED: set[Path] = set()
LONGEST = "ranks tutorials cli runs examples api memory crossing viewer_in_a_browser variational"
"""Files that take longest, by their names: begun first, so that no process is alone with one at the
end."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every attempt to connect anywhere but to this machine (the viewer; a socket that is a file)
    fails the test."""
    connect = socket.socket.connect

    def refuse(*arguments, **keywords):
        if (
            len(arguments) == 2
            and isinstance(arguments[1], tuple)
            and arguments[1][0] == "127.0.0.1"
        ):
            return connect(*arguments)
        if arguments[0].family == getattr(socket, "AF_UNIX", None):
            return connect(*arguments)
        raise AssertionError(f"a test tried to reach the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def own_environment():
    """What a command leaves in the environment for the processes that it starts (the files behind
    --plugins) ends with its test."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def collected(request):
    """Copies the GLBs that the package wrote to the folder that THREESTUDIO_LIKE_COLLECT_GLB names,
    for `.ci/validate`; their names say in which test."""
    yield
    folder = os.environ.get("THREESTUDIO_LIKE_COLLECT_GLB")
    if not folder:
        return
    from threestudio_like.engine.output import made_files

    for path in made_files():
        if path.suffix.lower() == ".glb" and path not in COLLECTED:
            COLLECTED.add(path)
            data = path.read_bytes()
            Path(folder).mkdir(parents=True, exist_ok=True)
            test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:80]
            name = f"{hashlib.sha256(data).hexdigest()[:16]}-{test}.glb"
            (Path(folder) / name).write_bytes(data)


@pytest.fixture(autouse=True, scope="session")
def threads():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toybox_prior():
    """The embedded prior."""
    from threestudio_like.priors.registry import resolve
    from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior

    return StableDiffusionPrior(resolve("toybox"), DiffusersConfig(), "toybox")


def tiny_pipeline(
    folder: Path, prediction_type: str = "epsilon", camera: str = "", seed: int = 0, cross: int = 32
) -> Path:
    """A randomly initialised model folder of Stable Diffusion's layout: 8 x 8 latents of 16 x 16
    pictures."""
    import json

    from diffusers import AutoencoderKL, UNet2DConditionModel

    from threestudio_like.toybox.twenty import TWENTY
    from threestudio_like.training.text_to_image.diffusion import (
        build_text_encoder,
        edition_tokenizer,
    )

    torch.manual_seed(seed)
    extra = {}
    if camera == "vector":
        extra = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8}
    UNet2DConditionModel(
        sample_size=8,
        in_channels=10 if camera == "rays" else 4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=4,
        norm_num_groups=8,
        **extra,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    tokenizer = edition_tokenizer(TWENTY)
    tokenizer.save_pretrained(folder / "tokenizer")
    build_text_encoder(tokenizer, cross, 1).save_pretrained(folder / "text_encoder")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps(
            {
                "_class_name": "DDIMScheduler",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "beta_schedule": "scaled_linear",
                "num_train_timesteps": 1000,
                "prediction_type": prediction_type,
            }
        )
    )
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    if camera:
        numbers = ["sin azimuth", "cos azimuth", "sin 2 azimuth", "cos 2 azimuth"]
        numbers += ["sin elevation", "cos elevation", "background", "known"]
        said = {"camera_vector": numbers} if camera == "vector" else {"ray_maps": True}
        (folder / "prior.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_prior(tiny_folder):
    from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior

    return StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")


def pytest_collection_modifyitems(items):
    """The longest files first, the others in their order."""
    first = [f"test_{name}.py" for name in LONGEST.split()]
    rank = {name: number for number, name in enumerate(first)}
    items.sort(key=lambda item: rank.get(item.path.name, len(first)))


def pytest_terminal_summary(terminalreporter):
    """Which files a long run spent its time in, in one line at its end."""
    spent: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration") and hasattr(report, "nodeid"):
                file = report.nodeid.split("::")[0].removeprefix("tests/")
                spent[file] = spent.get(file, 0.0) + report.duration
    slow = sorted((file for file in spent if spent[file] >= 60), key=lambda f: -spent[f])
    if slow:
        told = ", ".join(f"{file} {spent[file]:.0f}" for file in slow[:40])
        terminalreporter.write_line(f"Seconds by file, of {sum(spent.values()):.0f}: {told}")
