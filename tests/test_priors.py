"""The diffusers adapter on small pipelines, the registry, concepts, bundles, oracles of views."""

from __future__ import annotations

import math

import pytest
import torch

from tests.conftest import tiny_pipeline
from threestudio_like.engine.errors import ModelError, VocabularyError
from threestudio_like.priors import registry
from threestudio_like.priors.clip import ClipPrior
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.networks.attention import ViewAttention, install, joint_views
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.sampling import ddim, guided_clean
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.priors.text.concepts import read_concept, unused_words
from threestudio_like.priors.text.embeddings import EmbeddingStore
from threestudio_like.renderers import Cameras


def ring(n):
    return Cameras.orbit(torch.arange(n) / n * 2 * math.pi, torch.full((n,), 0.2), 3.0, 0.7, 8, 8)


def test_a_saved_pipeline_loads_and_says_what_it_is(tiny_prior):
    facts = tiny_prior.facts
    assert (facts.prediction_type, facts.channels, facts.latent_size, facts.image_size) == (
        "epsilon",
        4,
        8,
        16,
    )
    assert facts.vocabulary is None
    assert facts.camera is None
    text = tiny_prior.encode_text(["a red chair", ""])
    z = tiny_prior.encode_image(torch.rand(2, 16, 16, 3))
    assert z.shape == (2, 4, 8, 8)
    out = tiny_prior.predict(z, torch.tensor([10, 900]), Condition(text))
    assert out.shape == z.shape
    picture = tiny_prior.decode_latents(z)
    assert picture.shape == (2, 16, 16, 3)
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1


def test_latents_carry_the_scale_factor(tiny_prior):
    image = torch.rand(1, 16, 16, 3)
    raw = tiny_prior.vae.encode(image.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()
    torch.testing.assert_close(tiny_prior.encode_image(image), raw * 0.18215)


def test_encoding_is_differentiable(tiny_prior):
    image = torch.rand(1, 16, 16, 3, requires_grad=True)
    tiny_prior.encode_image(image).square().sum().backward()
    assert float(image.grad.abs().sum()) > 0


def test_a_v_prediction_twin_says_the_same(tmp_path, tiny_prior):
    """A model that states v = the same network's epsilon turned into v gives the same clean
    estimate."""
    folder = tiny_pipeline(tmp_path / "v", "v_prediction")
    twin = StableDiffusionPrior(folder, DiffusersConfig(), "v")
    z, t = torch.randn(1, 4, 8, 8), torch.tensor([400])
    condition = Condition(tiny_prior.encode_text([""]))
    eps = tiny_prior.predict(z, t, condition)
    twin.predict = lambda *_: twin.schedule.from_epsilon(eps, z, t, "v_prediction")
    a = guided_clean(tiny_prior, z, t, condition, condition.text, 1.0)
    b = guided_clean(twin, z, t, condition, condition.text, 1.0)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(twin.epsilon(z, t, condition), eps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("camera", ["vector", "rays"])
def test_camera_conditioning_is_recognised_and_used(tmp_path, camera):
    prior = StableDiffusionPrior(
        tiny_pipeline(tmp_path / camera, camera=camera), DiffusersConfig(), camera
    )
    z, t = torch.randn(1, 4, 8, 8), torch.tensor([400])
    text = prior.encode_text([""])
    seen = [prior.predict(z, t, Condition(text, ring(4)[[i]], 0.5)) for i in (0, 1)]
    blind = prior.predict(z, t, Condition(text))
    assert not torch.allclose(seen[0], seen[1], atol=1e-6)
    assert not torch.allclose(seen[0], blind, atol=1e-6)


def test_joint_views_share_their_self_attention(tiny_prior):
    processor = install(tiny_prior.unet)
    z, t = torch.randn(4, 4, 8, 8), torch.full((4,), 500)
    text = tiny_prior.encode_text([""] * 4)
    with torch.no_grad():
        alone = tiny_prior.unet(z, t, text).sample
        with joint_views(processor, 4):
            together = tiny_prior.unet(z, t, text).sample
            moved = tiny_prior.unet(torch.cat([z[:3], z[3:] + 1]), t, text).sample
        again = tiny_prior.unet(z, t, text).sample
    assert torch.equal(alone, again)
    assert not torch.allclose(alone, together, atol=1e-6)
    # With joint attention the first view sees a change of the fourth.
    assert not torch.allclose(together[0], moved[0], atol=1e-7)


@pytest.mark.parametrize("written_out", [1 << 21, 0])
def test_view_attention_of_one_view_equals_the_librarys(tiny_folder, monkeypatch, written_out):
    """Written out as for small pictures, and fused as for large ones."""
    monkeypatch.setattr("threestudio_like.priors.networks.attention.WRITTEN_OUT", written_out)
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    unet = UNet2DConditionModel.from_pretrained(tiny_folder / "unet")
    z, t, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 32)
    with torch.no_grad():
        unet.set_attn_processor(AttnProcessor())
        theirs = unet(z, t, text).sample
        unet.set_attn_processor(ViewAttention())
        ours = unet(z, t, text).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_attention_slicing_changes_nothing(tiny_folder, tiny_prior):
    sliced = StableDiffusionPrior(tiny_folder, DiffusersConfig(attention_slicing=True), "sliced")
    z, t, condition = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([300]),
        Condition(tiny_prior.encode_text(["a red chair"])),
    )
    torch.testing.assert_close(
        sliced.predict(z, t, condition), tiny_prior.predict(z, t, condition), atol=1e-4, rtol=1e-4
    )


def test_half_precision_loads(tiny_folder):
    half = StableDiffusionPrior(tiny_folder, DiffusersConfig(dtype="bfloat16"), "half")
    out = half.predict(
        torch.randn(1, 4, 8, 8), torch.tensor([300]), Condition(half.encode_text([""]))
    )
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())


def test_ddim_runs_on_a_real_network(tiny_prior):
    text = tiny_prior.encode_text(["a red chair"])
    z = ddim(
        tiny_prior,
        torch.randn(1, 4, 8, 8),
        1.0,
        4,
        Condition(text),
        tiny_prior.encode_text([""]),
        3.0,
        0.5,
        3.5,
    )
    assert bool(torch.isfinite(z).all())
    assert float(z.abs().max()) <= 3.5


SD15 = dict(
    sample_size=64, in_channels=4, out_channels=4, cross_attention_dim=768, attention_head_dim=8
)
SD21 = dict(
    sample_size=64,
    in_channels=4,
    out_channels=4,
    cross_attention_dim=1024,
    attention_head_dim=[5, 10, 20, 20],
    use_linear_projection=True,
)


@pytest.mark.parametrize(("config", "millions"), [(SD15, 859.5), (SD21, 865.9)])
def test_the_real_configurations_build_on_the_meta_device(config, millions):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    install(unet)
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_concepts_add_exactly_one_token_and_change_the_embedding(tmp_path, tiny_folder):
    """METHODS 1.12 and 1.16."""
    from safetensors.torch import save_file

    plain = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    path = tmp_path / "learned_embeds.safetensors"
    save_file({"<cat-toy>": torch.randn(32)}, path)
    prior.text._load()
    before = len(prior.text._tokenizer)
    prior.add_concept(read_concept(path))
    assert len(prior.text._tokenizer) == before + 1
    assert prior.text._tokenizer.tokenize("a <cat-toy>")[-1].startswith("<cat-toy>")
    a, b = prior.encode_text(["a <cat-toy> chair"]), plain.encode_text(["a chair"])
    assert not torch.allclose(a, b)
    with pytest.raises(VocabularyError, match="<cat-toy>"):
        plain.encode_text(["a <cat-toy> chair"])
    torch.testing.assert_close(
        prior.encode_text(["a red chair"]), plain.encode_text(["a red chair"])
    )
    with pytest.raises(ModelError, match="exists already"):
        prior.add_concept(read_concept(path))
    assert unused_words(["<cat-toy>"], "a red chair") == ["<cat-toy>"]
    assert unused_words(["<cat-toy>"], "a <cat-toy>") == []
    torch.save({"<other>": torch.randn(32)}, tmp_path / "learned_embeds.bin")
    assert list(read_concept(tmp_path / "learned_embeds.bin")) == ["<other>"]


def test_bad_concepts_are_named(tmp_path, tiny_folder):
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "evil.bin").write_bytes(pickle.dumps({"<a>": Evil()}))
    for name in ("evil.bin", "none.safetensors"):
        with pytest.raises(ModelError):
            read_concept(tmp_path / name)
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    with pytest.raises(ModelError, match="wants 32"):
        prior.add_concept({"<x>": torch.randn(7)})


def test_a_bundle_replaces_the_text_encoder(tmp_path, tiny_folder):
    prior = StableDiffusionPrior(tiny_folder, DiffusersConfig(), "tiny")
    wanted = prior.encode_text(["a red chair", ""])
    prior.save_embeddings(tmp_path / "bundle.safetensors")
    other = StableDiffusionPrior(
        tiny_folder, DiffusersConfig(), "tiny", EmbeddingStore.load(tmp_path / "bundle.safetensors")
    )
    other.text._load = lambda: pytest.fail("the text encoder was loaded")
    assert torch.equal(other.encode_text(["a red chair", ""]), wanted)
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="damaged"):
        EmbeddingStore.load(tmp_path / "bad.safetensors")


def test_the_registry_resolves_folders_and_local_names(tmp_path, monkeypatch, tiny_folder):
    assert registry.resolve(str(tiny_folder)) == tiny_folder
    monkeypatch.setenv("THREESTUDIO_LIKE_MODELS", str(tmp_path))
    (tmp_path / "sd-1.5").symlink_to(tiny_folder)
    assert registry.resolve("sd-1.5") == tmp_path / "sd-1.5"
    with pytest.raises(ModelError, match=r'Did you mean "sd-1\.5"'):
        registry.resolve("sd-15")


def test_missing_gated_and_unreachable_models_each_say_so(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    monkeypatch.setenv("THREESTUDIO_LIKE_MODELS", str(tmp_path))
    tried, looked = [], []

    def fail_with(kind):
        def refuse(name):
            error = kind.__new__(kind)
            Exception.__init__(error, "refused")
            raise error

        def listing(self, name, **_):
            tried.append(name)
            refuse(name)

        def download(name, local_files_only=False, **_):
            if local_files_only:
                looked.append(name)
                raise errors.LocalEntryNotFoundError("not here")
            refuse(name)

        monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", listing)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    fail_with(errors.RepositoryNotFoundError)
    with pytest.raises(ModelError) as caught:
        registry.resolve("sd-1.5")
    assert tried == looked == list(registry.MODELS["sd-1.5"].mirrors)
    assert all(name in caught.value.line() for name in tried)
    fail_with(errors.GatedRepoError)
    with pytest.raises(ModelError, match="gated"):
        registry.resolve("sd-1.4")
    fail_with(errors.LocalEntryNotFoundError)
    with pytest.raises(ModelError, match="no network"):
        registry.resolve("someone/some-model")


def test_every_registered_model_has_mirrors_and_a_licence():
    for entry in registry.MODELS.values():
        assert entry.mirrors
        assert entry.licence
        assert entry.territory


def test_a_folder_of_the_wrong_kind_is_named(tmp_path):
    (tmp_path / "unet").mkdir()
    with pytest.raises(ModelError, match="has no"):
        StableDiffusionPrior(tmp_path, DiffusersConfig(), "wrong")


def test_the_embedded_prior_knows_its_world(toybox_prior):
    facts = toybox_prior.facts
    assert facts.camera is not None
    assert facts.camera.distance == 3.0
    assert "chair" in facts.vocabulary
    assert facts.joint_views == 4
    assert facts.prediction_type == "v_prediction"


def test_the_embedded_clip_tells_colours_apart():
    from threestudio_like.toybox.dataset import draw_groups

    clip = ClipPrior(embedded_folder("clip"))
    data = draw_groups(5, 20, split="test")
    images = torch.from_numpy(data.images[:, 0]).float() / 255
    found = clip.embed_images(images) @ clip.embed_texts(data.captions).t()
    assert float((found.argmax(1) == torch.arange(20)).float().mean()) > 0.7
