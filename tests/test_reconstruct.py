"""A picture's way in (background, framing, orientation), the camera found, colours laid back,
`reconstruct` from the command line."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from threestudio_like.cli import main
from threestudio_like.engine.errors import CollapseError, ConfigError, InputError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.surface.voxels import to_mesh, voxelise
from threestudio_like.meshes.texture.atlas import join_atlas
from threestudio_like.meshes.texture.coordinates import with_coordinates
from threestudio_like.priors.framing import boxes
from threestudio_like.priors.networks.contrastive import Contrastive, ContrastiveConfig, TextConfig
from threestudio_like.priors.networks.patch_transformer import EncoderConfig
from threestudio_like.priors.networks.voxel_unet import VoxelUNetConfig
from threestudio_like.priors.segmentation.segmenter import BorderSegmenter
from threestudio_like.priors.voxel_diffusion import (
    ShapePrior,
    VoxelDiffusion,
    VoxelDiffusionConfig,
    VoxelSampling,
)
from threestudio_like.representations import TexturedMesh
from threestudio_like.systems.image_to_3d import cisp
from threestudio_like.systems.image_to_3d.back_projection import (
    ProjectionConfig,
    completed,
    lay_back,
)
from threestudio_like.systems.image_to_3d.caption import guess_caption
from threestudio_like.systems.image_to_3d.cisp import (
    CispConfig,
    knows_words,
    reconstruct_shape,
    shape_of,
)
from threestudio_like.systems.image_to_3d.photo import photo_of, read_photo
from threestudio_like.systems.image_to_3d.pose import (
    PoseConfig,
    find_pose,
    framed_masks,
    matching_cut,
    silhouettes,
)
from threestudio_like.toybox.pairs import pictures_of
from threestudio_like.toybox.render import render, view_projection
from threestudio_like.toybox.vocabulary import CATEGORIES
from threestudio_like.toybox.world import draw

CHAIR = 8


def chair(size=160):
    """A chair's picture with alpha (S, S, 4) uint8, its azimuth, elevation and mesh."""
    picture, azimuth, elevation, mesh, _ = pictures_of(9, CHAIR, "test", 2, size)
    return picture[0], float(azimuth[0]), float(elevation[0]), mesh


def on_background(kind, index=3, size=128):
    """An object before a background: picture (S, S, 3) in [0, 1] and its mask (S, S)."""
    obj = draw(5, index, "test")
    view = render(obj, view_projection(0.6 + index, 0.3)[None], size, np.zeros((1, 3), np.float32))
    y, x = np.mgrid[0:size, 0:size] / size
    behind = {
        "plain": np.full((size, size, 3), 0.95),
        "ramp": np.stack([0.6 + 0.3 * y, 0.5 + 0.2 * x, 0.4 + 0.2 * y], -1),
        "tiles": np.where(
            (((x * 6).astype(int) + (y * 6).astype(int)) % 2)[..., None] > 0,
            [0.75, 0.78, 0.8],
            [0.55, 0.6, 0.62],
        ),
    }[kind]
    mask = view.mask[0]
    noise = np.random.default_rng(0).normal(0, 0.01, (size, size, 3))
    return (view.image[0] + behind * (1 - mask[..., None]) + noise).clip(0, 1).astype(
        np.float32
    ), mask


@pytest.mark.parametrize("kind", ["plain", "ramp", "tiles"])
def test_the_border_tells_the_object(kind):
    ious = []
    for index in (3, 6, 8, 14):
        picture, mask = on_background(kind, index)
        found = BorderSegmenter().mask(picture) > 0.5
        ious.append((found & (mask > 0.5)).sum() / (found | (mask > 0.5)).sum())
    assert np.mean(ious) > 0.85
    assert min(ious) > 0.5


def test_the_inside_of_a_line_drawing_belongs_to_it():
    y, x = np.mgrid[0:120, 0:120]
    radius = np.hypot(x - 60, y - 60)
    drawing = (
        np.where(((radius > 38) & (radius < 41))[..., None], 0.1, 1.0)
        .repeat(3, -1)
        .astype(np.float32)
    )
    found = BorderSegmenter().mask(drawing) > 0.5
    disc = radius < 41
    assert (found & disc).sum() / (found | disc).sum() > 0.9


def test_a_picture_without_an_object_is_taken_whole(tmp_path):
    Image.fromarray(np.full((60, 50, 3), 120, np.uint8)).save(tmp_path / "grey.png")
    photo = read_photo(tmp_path / "grey.png")
    assert "nothing stood out" in photo.notes["background"]
    assert float(photo.pixels[..., 3].min()) == 1


def test_alpha_is_kept_orientation_is_undone_and_large_pictures_are_scaled(tmp_path):
    picture = np.zeros((40, 60, 4), np.uint8)
    picture[10:20, 30:50] = (200, 10, 10, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.notes["background"] == "by the picture's alpha"
    assert boxes(torch.from_numpy(photo.pixels[None, ..., 3])).tolist() == [[30, 10, 50, 20]]
    solid = np.full((40, 60, 3), 240, np.uint8)
    solid[5:15, 5:30] = (200, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(solid).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = read_photo(tmp_path / "turned.jpg")
    assert turned.pixels.shape[:2] == (60, 40)
    box = boxes(torch.from_numpy(turned.pixels[None, ..., 3]), 0.5)[0]
    assert torch.allclose(box, torch.tensor([25.0, 5.0, 35.0, 30.0]), atol=2)
    Image.fromarray(np.repeat(np.repeat(solid, 40, 0), 40, 1)).save(tmp_path / "large.png")
    assert read_photo(tmp_path / "large.png").pixels.shape[1] == 1024
    deep = (np.random.default_rng(0).random((40, 40)) * 65535).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert 0.3 < float(read_photo(tmp_path / "deep.png").original.mean()) < 0.7


@pytest.mark.parametrize(
    "bad", ["missing", "folder", "text", "truncated", "tiny", "strip", "clear", "empty"]
)
def test_bad_pictures_are_one_line_and_exit_2(tmp_path, capsys, bad):
    path = tmp_path / "picture.png"
    if bad == "folder":
        path.mkdir()
    elif bad == "text":
        path.write_text("not a picture")
    elif bad == "truncated":
        Image.fromarray(chair(64)[0]).save(path)
        path.write_bytes(path.read_bytes()[:400])
    elif bad == "tiny":
        Image.new("RGB", (9, 9)).save(path)
    elif bad == "strip":
        Image.new("RGB", (2000, 20)).save(path)
    elif bad == "clear":
        Image.new("RGBA", (40, 40)).save(path)
    elif bad == "empty":
        path.write_bytes(b"")
    assert main(["reconstruct", str(path), "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    assert "picture.png" in message
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError):
        read_photo(path)


def test_the_camera_of_a_picture_is_found():
    for index in (2, 8, 16):
        picture, azimuth, elevation, mesh, _ = pictures_of(9, index, "test", 1, 64)
        shape = to_mesh(voxelise(mesh).astype(np.float32))
        mask = framed_masks(torch.from_numpy(picture[..., 3] / 255).float(), 64)[0]
        pose = find_pose(shape, mask, PoseConfig())
        turn = abs((pose.azimuth - azimuth[0] + math.pi) % (2 * math.pi) - math.pi)
        assert math.degrees(turn) < 12
        assert abs(math.degrees(pose.elevation - elevation[0])) < 12
        assert pose.agreement > max(0.85, pose.rival)
        # Another source may say from which side: the search stays there.
        near = find_pose(shape, mask, PoseConfig(), (float(azimuth[0]) + math.pi, 0.2))
        assert abs((near.azimuth - azimuth[0]) % (2 * math.pi) - math.pi) < math.radians(60)


def test_the_cut_puts_the_object_where_the_camera_sees_it(tmp_path):
    picture, _, _, mesh = chair()
    Image.fromarray(np.pad(picture, ((30, 10), (5, 50), (0, 0)))).save(tmp_path / "chair.png")
    photo = read_photo(tmp_path / "chair.png")
    config = PoseConfig()
    pose = find_pose(mesh, photo.mask(64), config)
    box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    cut = matching_cut(mesh, pose, config, box)
    _, alpha = photo.colours(128, cut)
    drawn = silhouettes(
        mesh, torch.tensor([pose.azimuth]), torch.tensor([pose.elevation]), config, 128
    )
    both = torch.minimum(alpha, drawn).sum() / torch.maximum(alpha, drawn).sum()
    assert float(both) > 0.9


def test_colours_are_laid_back_mirrored_and_completed(tmp_path):
    picture, _, _, mesh = chair(256)
    Image.fromarray(picture).save(tmp_path / "chair.png")
    photo = read_photo(tmp_path / "chair.png")
    asset, _ = with_coordinates(Asset({"chair": mesh.with_normals()}), 256)
    atlas = join_atlas(asset, 256)
    surface = TexturedMesh(atlas, 3, start=torch.full((3,), 0.5))
    config = ProjectionConfig(complete="neighbours")
    pose = find_pose(mesh, photo.mask(64), PoseConfig())
    coloured = lay_back(surface, photo, pose, PoseConfig(), config)
    charts = surface.charts
    assert 0.15 < float(coloured.seen[charts].float().mean()) < 0.7
    assert float((coloured.mirrored & charts).sum() / charts.sum()) > 0.05
    assert not bool((coloured.seen & coloured.mirrored).any())
    done = completed(coloured, config, None, {})
    texels = done.texels.detach()[0][:, charts]
    # The object's colours, not the grey that the surface began with, everywhere.
    solid = torch.from_numpy(picture[..., :3][picture[..., 3] > 250] / 255).float()
    nearest = torch.cdist(texels.t()[::37], solid[::7]).amin(1)
    assert float((nearest < 0.08).float().mean()) > 0.95


class Known(ShapePrior):
    """Samples a shape that is known, and nothings."""

    def __init__(self, voxels, empty=0):
        self.voxels, self.empty = voxels, empty

    def sample(self, embedding, count, config, random):
        out = torch.from_numpy(np.repeat(self.voxels[None], count, 0)).float()
        out[: self.empty] = 0
        return out


def test_the_candidate_that_agrees_best_is_taken():
    picture, _, _, mesh = chair(64)
    mask = framed_masks(torch.from_numpy(picture[None, ..., 3] / 255).float(), 64)[0]
    config = CispConfig(candidates=3)
    found = shape_of(torch.zeros(1, 4), mask, Known(voxelise(mesh), 1), config, 0)
    assert found.agreements[0] == 0
    assert found.pose.agreement == max(found.agreements) > 0.85
    assert len(found.mesh.faces) <= config.faces
    with pytest.raises(CollapseError, match="seed"):
        shape_of(torch.zeros(1, 4), mask, Known(voxelise(mesh), 3), config, 0)


class Sizes:
    """An encoder for which shapes are alike as they are filled."""

    def embed_other(self, volumes):
        share = volumes.flatten(1).mean(1) * 20
        return torch.stack([share.cos(), share.sin()], 1)


def test_what_a_prompt_asks_for_competes_by_silhouette_and_likeness():
    """A worded shape is taken over one whose silhouette agrees a little better, not over one that
    agrees much better; without weight never."""
    picture, _, _, mesh = chair(64)
    mask = framed_masks(torch.from_numpy(picture[None, ..., 3] / 255).float(), 64)[0]
    right = voxelise(mesh)
    block = np.zeros_like(right)
    block[10:22, 8:28, 10:22] = 1
    worded, sizes = torch.from_numpy(block[None]).float(), Sizes()
    for liking, taken in ((0.0, right), (0.2, right), (3.0, block)):
        config = CispConfig(candidates=1, liking=liking)
        found = shape_of(torch.zeros(1, 4), mask, Known(right), config, 0, None, worded, sizes)
        assert len(found.agreements) == 2
        assert (found.voxels > 0.5).sum() == taken.sum()


def test_words_are_asked_only_where_they_are_known(tmp_path):
    assert knows_words("a blue robot", "")
    assert not knows_words("a blue unicorn", "")
    assert not knows_words("a red ball on a blue box", "")
    assert not knows_words("", "")
    assert not knows_words("a blue robot", str(tmp_path))


def test_half_a_sofa_and_its_name_make_a_sofa():
    """The embedded models: of a picture of which a half is cut off the prompt makes what it
    names."""
    number = CATEGORIES.index("sofa")
    rgba, _, _, _, _ = pictures_of(2001, number, "test", 1, 96)
    pixels = rgba[0].astype(np.float32) / 255
    columns = np.flatnonzero(pixels[..., 3].max(0) > 0.5)
    pixels[:, : int(columns.mean()), 3] = 0
    photo = photo_of(pixels, "half", {})
    config = CispConfig(candidates=1, worded=2, liking=0.4, sampling=VoxelSampling(steps=12))
    alone, named = (reconstruct_shape(photo, config, 0, None, p) for p in ("", "a sofa"))
    assert (len(alone.agreements), len(named.agreements)) == (1, 3)
    true = draw(2001, number, "test")
    encoder, _ = cisp.load_models("cisp")
    shapes = [voxelise(Mesh(true.vertices, true.faces)), alone.voxels, named.voxels]
    with torch.no_grad():
        looks = encoder.embed_other(torch.from_numpy(np.stack(shapes).astype(np.float32)))
    near = torch.cosine_similarity(looks[:1], looks[1:])
    assert near[1] > near[0]


@pytest.fixture
def models(tmp_path):
    """Folders of tiny untrained models, with a generator that knows the chair."""
    from threestudio_like.priors.text.tokens import tokenizer_of

    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    sizes = (
        EncoderConfig(
            dims=2, kind="transformer", size=64, patch=16, width=16, depth=1, heads=2, leading=2
        ),
        EncoderConfig(
            dims=3, kind="transformer", size=32, patch=8, width=16, depth=1, heads=2, leading=1
        ),
    )
    for name, against in (("cisp", "shape"), ("clip", "text")):
        config = ContrastiveConfig(
            against=against,
            width=16,
            image=sizes[0],
            shape=sizes[1],
            text=TextConfig(
                vocabulary=len(tokenizer),
                end=tokenizer.eos_token_id,
                tokens=32,
                width=16,
                depth=1,
                heads=2,
            ),
        )
        Contrastive(config).save(tmp_path / "models" / name)
    tokenizer.save_pretrained(tmp_path / "models" / "clip")
    unet = VoxelUNetConfig(
        resolution=32,
        patch=4,
        width=16,
        multipliers=(1, 1),
        blocks=1,
        attention=(4,),
        groups=8,
        heads=2,
        embedding=16,
        tokens=2,
        token_width=16,
        time_width=16,
    )
    VoxelDiffusion(VoxelDiffusionConfig(unet=unet, prediction="sample", signed=True)).save(
        tmp_path / "models" / "voxels-cisp"
    )
    return tmp_path / "models"


def test_reconstruct_from_the_command_line(tmp_path, models, monkeypatch, capsys):
    picture, _, _, mesh = chair()
    Image.fromarray(picture).save(tmp_path / "chair.png")
    encoder, _ = cisp.load_models("cisp", str(models))
    known = Known(voxelise(mesh))
    monkeypatch.setattr(cisp, "load_models", lambda embedding, folder="": (encoder, known))
    command = [
        "reconstruct",
        str(tmp_path / "chair.png"),
        "--method",
        "cisp",
        "--shape.models",
        str(models),
        "--shape.candidates",
        "1",
        "--texture",
        "256",
        "--quiet",
    ]
    run = tmp_path / "run"
    quick = [
        "--colour.paint.start.refine.steps",
        "2",
        "--colour.paint.start.iterations",
        "4",
        "--colour.paint.start.refine.views",
        "4",
    ]
    assert main([*command, "--out", str(run), "--prompt", "a red chair", *quick]) == 0
    for name in (
        "asset.glb",
        "preview.png",
        "turntable.mp4",
        "report.html",
        "run.yaml",
        "work/voxels.npy",
    ):
        assert (run / name).is_file()
    asset = Asset.load(run / "asset.glb")
    assert asset.mesh.texture.shape[:2] == (256, 256)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    figures = next(e for e in events if e["event"] == "asset")
    assert figures["agreement with the picture's silhouette"] > 0.85
    assert figures["texels from the picture"] + figures["texels mirrored"] + figures[
        "texels completed"
    ] == pytest.approx(1)
    report = (run / "report.html").read_text()
    assert "The picture" in report
    assert "cut out" in report
    # Without painting, and twice: the same bytes.
    for name in ("one", "two"):
        assert (
            main([*command, "--out", str(tmp_path / name), "--colour.complete", "neighbours"]) == 0
        )
    assert (tmp_path / "one/asset.glb").read_bytes() == (tmp_path / "two/asset.glb").read_bytes()
    capsys.readouterr()
    assert main([*command, "--out", str(run)]) == 2
    assert main([*command, "--out", str(tmp_path / "x"), "--prompt", "a zebra"]) == 2
    assert main([*command, "--out", str(tmp_path / "x"), "--resolution", "64"]) == 2
    assert "voxel grid" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_missing_model_is_named_with_the_way_to_train_it(tmp_path, capsys):
    Image.fromarray(chair(64)[0]).save(tmp_path / "chair.png")
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "chair.png"),
                "--shape.models",
                str(tmp_path),
                "--out",
                str(tmp_path / "r"),
            ]
        )
        == 2
    )
    assert "train cisp" in capsys.readouterr().err


def test_an_untrained_generator_ends_in_one_line_too(tmp_path, models, capsys):
    Image.fromarray(chair(64)[0]).save(tmp_path / "chair.png")
    command = [
        "reconstruct",
        str(tmp_path / "chair.png"),
        "--method",
        "cisp",
        "--shape.models",
        str(models),
        "--shape.sampling.steps",
        "2",
        "--shape.candidates",
        "1",
    ]
    code = main(
        [*command, "--out", str(tmp_path / "r"), "--colour.complete", "neighbours", "--quiet"]
    )
    assert code in (0, 2)
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_caption_is_guessed_by_the_twin(models, tmp_path):
    Image.fromarray(chair(64)[0]).save(tmp_path / "chair.png")
    guess = guess_caption(read_photo(tmp_path / "chair.png"), models / "clip")
    assert guess.text.split()[0] in ("a", "an")
    assert not guess.sure
    assert "--prompt" in guess.line()


def test_reconstruct_from_python(tmp_path, models, monkeypatch):
    import threestudio_like

    picture, _, _, mesh = chair()
    Image.fromarray(picture).save(tmp_path / "chair.png")
    encoder, _ = cisp.load_models("cisp", str(models))
    monkeypatch.setattr(
        cisp, "load_models", lambda embedding, folder="": (encoder, Known(voxelise(mesh)))
    )
    values = {"shape.models": str(models), "shape.candidates": "1", "colour.complete": "neighbours"}
    asset = threestudio_like.reconstruct(
        tmp_path / "chair.png",
        system="cisp",
        set=values,
        asset=threestudio_like.AssetOptions(turntable=False),
        run=threestudio_like.RunOptions(out=tmp_path / "run", quiet=True),
    ).asset
    assert asset.mesh.texture is not None
    assert (tmp_path / "run" / "asset.glb").is_file()
    assert not (tmp_path / "run" / "turntable.mp4").exists()


@pytest.mark.parametrize("option", ["save_embeddings", "embeddings", "like", "lora"])
def test_parts_of_a_prior_that_a_method_does_not_ask_are_refused(option):
    from types import SimpleNamespace as Plain

    from threestudio_like.commands.jobs.reconstruct import _prior_of
    from threestudio_like.runs.options import PriorOptions

    config = Plain(colour=Plain(complete="neighbours"), wants_prior=False)
    value = {"lora": ("given",), "like": ("given",)}.get(option, "given")
    run = Plain(options=Plain(prompt="", model=PriorOptions(**{option: value})))
    said = f"--{option.replace('_', '-')}: this method asks no prior"
    with pytest.raises(ConfigError, match=said):
        _prior_of(run, Plain(prior=None), config)
    run.options.model = PriorOptions()
    assert _prior_of(run, Plain(prior=None), config) is None
