"""Emphasis on words, and spatially-aware score distillation (METHODS 4.5, 4.9)."""

from __future__ import annotations

import threading

import pytest
import torch

from threestudio_like.engine.errors import ConfigError, ModelError
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.score_distillation import ScoreDistillation
from threestudio_like.guidance.spatial import SpatialConfig, SpatialScoreDistillation
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.networks.attention import attention_maps, emphasised, text_values
from threestudio_like.priors.networks.multi_view_layers import Attention
from threestudio_like.priors.oracle import PointMass
from threestudio_like.priors.sampling import join
from threestudio_like.priors.text.tokens import phrase_spans, word_columns
from threestudio_like.renderers import Cameras
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.systems.scene.prompt import read_scene


def batch(prior, prompt: str, count: int = 2):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(count, 4, 16, 16, generator=generator)
    cameras = Cameras.orbit(torch.linspace(0, 1, count), torch.zeros(count), 3.0, 0.7, 64, 64)
    return (
        latents,
        torch.full((count,), 850),
        Condition(prior.encode_text([prompt] * count), cameras, 0.8),
    )


def reweighted(layer, hidden, context, factors, normalised=False, bias=True):
    """Cross-attention written out, columns multiplied after the softmax (and rows divided by their
    sums): what `emphasised` has to equal."""

    def split(x):
        return x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)

    query, key, value = (
        split(layer.to_q(hidden)),
        split(layer.to_k(context)),
        split(layer.to_v(context)),
    )
    maps = (query @ key.transpose(-1, -2) * layer.scale).softmax(-1) * factors[:, None, None]
    if normalised:
        maps = maps / maps.sum(-1, keepdim=True)
    out = layer.to_out[0]((maps @ value).transpose(1, 2).flatten(2))
    return out if bias else out - layer.to_out[0].bias


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_emphasis_multiplies_the_chosen_columns_and_nothing_else(
    toybox_prior, monkeypatch, normalised, fused
):
    """c = 25: the selected columns are exactly 25 times what they were, all others as they were,
    rows not normalised again; or, normalised, of sum one."""
    monkeypatch.setattr(toybox_prior.processor, "fused", fused)
    layer = toybox_prior.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    generator = torch.Generator().manual_seed(1)
    hidden, context = (
        torch.randn(2, 64, 96, generator=generator),
        torch.randn(2, 32, 128, generator=generator),
    )
    factors = torch.ones(2, 32)
    factors[0, [3, 7]] = 25.0
    with torch.no_grad(), emphasised(toybox_prior.unet, factors, normalised):
        found = layer(hidden, encoder_hidden_states=context)
    with torch.no_grad():
        wanted = reweighted(layer, hidden, context, factors, normalised)
        assert torch.allclose(found, wanted, atol=1e-4)
        plain = layer(hidden, encoder_hidden_states=context)
    assert torch.allclose(found[1], plain[1], atol=1e-6 if normalised else 0, rtol=0)
    assert (found[0] - plain[0]).abs().max() > 0.05


def test_emphasis_of_one_changes_no_bit(toybox_prior):
    latents, t, condition = batch(toybox_prior, "a red ball on a blue box")
    plain = toybox_prior.predict(latents, t, condition)
    condition.emphasis = torch.ones(2, 32)
    assert torch.equal(plain, toybox_prior.predict(latents, t, condition))


def test_self_attention_is_left_alone(toybox_prior):
    hooked = text_values(toybox_prior.unet)
    assert hooked
    assert all(name.endswith("attn2") for name in hooked)


def test_the_hook_leaves_nothing_behind(toybox_prior):
    """After the run the model's attention processors are the ones from before, and no hook is left,
    also after an error."""
    unet = toybox_prior.unet
    before = dict(unet.attn_processors)
    latents, t, condition = batch(toybox_prior, "a red ball on a blue box")
    condition.emphasis = torch.full((2, 32), 25.0)
    toybox_prior.predict(latents, t, condition)
    condition.emphasis = torch.ones(5, 32)
    with pytest.raises(ValueError, match="emphasis"):
        toybox_prior.predict(latents, t, condition)
    assert all(unet.attn_processors[k] is v for k, v in before.items())
    assert not any(p._forward_hooks for p in text_values(unet).values())


def test_emphasis_belongs_to_its_thread(toybox_prior):
    latents, t, condition = batch(toybox_prior, "a red ball on a blue box")
    plain = toybox_prior.predict(latents, t, condition)
    found = []
    with emphasised(toybox_prior.unet, torch.full((2, 32), 25.0)):
        other = threading.Thread(
            target=lambda: found.append(toybox_prior.predict(latents, t, condition))
        )
        other.start()
        other.join()
    assert torch.equal(found[0], plain)


def test_transformers_with_cross_or_joint_attention_can_be_hooked():
    from diffusers import PixArtTransformer2DModel, SD3Transformer2DModel

    torch.manual_seed(0)
    cross = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=16,
        use_additional_conditions=False,
    ).eval()
    text = torch.randn(2, 5, 16)
    arguments = {"encoder_hidden_states": text, "timestep": torch.tensor([10, 10])}
    more = {"resolution": None, "aspect_ratio": None}
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for block in cross.transformer_blocks:
            torch.nn.init.normal_(block.attn2.to_out[0].weight)
        torch.nn.init.normal_(cross.proj_out.weight)
        plain = cross(x, added_cond_kwargs=more, **arguments).sample
        factors = torch.ones(2, 5)
        factors[0, 2] = 9.0
        for normalised in (False, True):
            with emphasised(cross, factors, normalised):
                found = cross(x, added_cond_kwargs=more, **arguments).sample
            assert torch.allclose(found[1], plain[1], atol=1e-5 if normalised else 0, rtol=0)
            assert not torch.allclose(found[0], plain[0], atol=1e-4)
        # A mask of the text is kept: what it hides stays hidden, however loud.
        seen = torch.tensor([[1, 1, 0, 1, 1]] * 2)
        hidden = cross(x, added_cond_kwargs=more, encoder_attention_mask=seen, **arguments).sample
        with emphasised(cross, factors, normalised=True):
            same = cross(x, added_cond_kwargs=more, encoder_attention_mask=seen, **arguments).sample
    assert torch.allclose(same, hidden, atol=1e-5)
    joint = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
    ).eval()
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.normal_(0, 0.2)
        given = {
            "encoder_hidden_states": text,
            "pooled_projections": torch.randn(2, 16),
            "timestep": torch.tensor([10, 10]),
        }
        plain = joint(x, **given).sample
        with emphasised(joint, factors):
            found = joint(x, **given).sample
        with (
            pytest.raises(ModelError, match="cannot be normalised"),
            emphasised(joint, factors, True),
        ):
            pass
    assert torch.equal(found[1], plain[1])
    assert not torch.allclose(found[0], plain[0], atol=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_picture_behind_the_text_is_heard_as_before(normalised):
    """In the multi-view networks the last tokens are a picture's, with keys of their own."""
    torch.manual_seed(0)
    layer = Attention(8, 2, 4, context=8, picture=2)
    x, text = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    factors = torch.ones(2, 3)
    factors[0, 1] = 4.0
    with torch.no_grad():
        with emphasised(torch.nn.ModuleList([layer]), factors, normalised):
            found = layer(x, text)
        seen = layer(x, text) - reweighted(layer, x, text[:, :3], torch.ones(2, 3), bias=False)
        wanted = seen + reweighted(layer, x, text[:, :3], factors, normalised, bias=False)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_model_without_words_is_refused():
    with (
        pytest.raises(ModelError, match="no attention to the words"),
        emphasised(torch.nn.Linear(2, 2), torch.ones(1, 3)),
    ):
        pass
    with pytest.raises(ModelError, match="no words"):
        PointMass(torch.zeros(4, 8, 8)).word_columns("a ball on a box", "on")


def test_attention_maps_sum_to_one_before_any_emphasis(toybox_prior):
    latents, t, condition = batch(toybox_prior, "a red ball on a blue box")
    with attention_maps(toybox_prior.unet) as maps:
        condition.emphasis = torch.full((2, 32), 25.0)
        toybox_prior.predict(latents, t, condition)
    assert set(maps) == set(text_values(toybox_prior.unet))
    assert all(torch.allclose(m.sum(-1), torch.ones(m.shape[:2]), atol=1e-5) for m in maps.values())


def test_joined_conditions_keep_each_its_own_emphasis():
    one, two = (
        Condition(torch.zeros(2, 4, 3), emphasis=torch.full((2, 4), 25.0)),
        Condition(torch.zeros(2, 4, 3)),
    )
    both = join(one, two)
    assert both.emphasis is not None
    assert torch.equal(both.emphasis, torch.cat([torch.full((2, 4), 25.0), torch.ones(2, 4)]))
    assert join(two, two).emphasis is None


def rendering(count: int = 3) -> Rendering:
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(count, 64, 64, 3, generator=generator).requires_grad_()
    one = torch.ones(count, 64, 64, 1)
    return Rendering(picture, one, one, picture.detach() * 0)


def view(count: int = 3) -> GuidanceInputs:
    return GuidanceInputs(
        Cameras.orbit(torch.linspace(-1, 1, count), torch.zeros(count), 3.0, 0.7, 64, 64),
        0.5,
        RandomStream(0, "x", 1),
        0.8,
    )


PROMPT = "a red ball on a blue box"


def gradient(guidance) -> torch.Tensor:
    shown = rendering()
    guidance(shown, view())[0].backward()
    return shown.features.grad


def test_c_of_one_equals_plain_score_distillation_bit_for_bit(toybox_prior):
    config = SpatialConfig(factor=1.0)
    plain = gradient(ScoreDistillation(toybox_prior, PROMPT, config.score, encode=True))
    assert torch.equal(
        plain, gradient(SpatialScoreDistillation(toybox_prior, PROMPT, ["on"], config))
    )
    other = gradient(SpatialScoreDistillation(toybox_prior, PROMPT, ["on"], SpatialConfig()))
    assert not torch.allclose(plain, other, rtol=1e-2)


def test_normalised_emphasis_is_another_gradient(toybox_prior):
    found = [
        gradient(SpatialScoreDistillation(toybox_prior, PROMPT, ["on"], SpatialConfig(normalise=n)))
        for n in (False, True)
    ]
    assert not torch.allclose(*found, rtol=1e-2)


def test_only_the_conditional_branch_is_emphasised(toybox_prior, monkeypatch):
    """The trap of the released derivatives: they weight the unconditional half of the batch."""
    seen = []
    real = toybox_prior.predict
    monkeypatch.setattr(toybox_prior, "predict", lambda z, t, c: seen.append(c) or real(z, t, c))
    gradient(SpatialScoreDistillation(toybox_prior, PROMPT, ["on"], SpatialConfig()))
    (condition,) = seen
    conditional, unconditional = condition.emphasis.chunk(2)
    empty = toybox_prior.encode_text([""])[0]
    assert torch.equal(condition.text[3:], empty.expand(3, -1, -1))
    assert torch.equal(unconditional, torch.ones_like(unconditional))
    assert torch.equal(conditional[0].nonzero()[:, 0], torch.arange(32))
    assert (conditional != 1).nonzero()[:, 1].unique().tolist() == [4]
    assert float(conditional.max()) == 25.0


def test_times_are_drawn_from_800_to_900_inclusive(toybox_prior):
    guidance = SpatialScoreDistillation(toybox_prior, PROMPT, ["on"], SpatialConfig())
    times = torch.cat(
        [
            guidance.times(50, GuidanceInputs(view().cameras, 0.5, RandomStream(0, "x", k)))
            for k in range(60)
        ]
    )
    assert int(times.min()) == 800
    assert int(times.max()) == 900


def test_the_token_finder(toybox_prior):
    """Multi-token words, repeated words, punctuation, and words that are not there."""
    prompt = "A red ball, in front of a blue box; and a mug in front of it"
    columns = toybox_prior.word_columns(prompt, "in front of")
    assert len(columns) == 6
    assert 0 not in columns
    assert toybox_prior.word_columns("a ball on a box", "on") == [3]
    # "squirrel" is no word of the vocabulary: its letters are tokens, and all of them count.
    assert len(toybox_prior.word_columns("a squirrel on a box", "squirrel")) > 2
    assert phrase_spans("a ball ON a box, on", "on") == [(7, 9), (17, 19)]
    with pytest.raises(ConfigError, match='does not contain "under"'):
        toybox_prior.word_columns("a ball on a box", "under")
    with pytest.raises(ConfigError, match="no words"):
        phrase_spans("a ball", "...")
    with pytest.raises(ConfigError, match="after the 32 tokens"):
        toybox_prior.word_columns("a " * 40 + "ball", "ball")


def test_a_tokenizer_that_does_not_say_where_its_tokens_lie():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="positions of its tokens"):
        word_columns(Slow(), "a ball on a box", "on")


ON, RIGHT, LYING = (0, "on", "on", 1), (2, "right of", "right of", 1), (0, "lying on", "on", 1)
LEFT, STANDING = (2, "to the left of", "left of", 1), (1, "standing behind", "behind", 2)


@pytest.mark.parametrize(
    ("prompt", "objects", "relations"),
    [
        ("a red ball on a blue box", ["a red ball", "a blue box"], [ON]),
        (
            "a ball on a blue box and a mug right of a blue box",
            ["a ball", "a blue box", "a mug"],
            [ON, RIGHT],
        ),
        (
            "a fox lying on a car, and a mug to the left of the car",
            ["a fox", "a car", "a mug"],
            [LYING, LEFT],
        ),
        (
            "a knight on a horse; the horse is standing behind a dog",
            ["a knight", "a horse", "a dog"],
            [ON, STANDING],
        ),
        ("a red ball on a red ball", ["a red ball", "a red ball"], [ON]),
        ("a chair and a table", ["a chair", "a table"], []),
        ("", [], []),
    ],
)
def test_a_prompt_says_objects_and_relations(prompt, objects, relations):
    text = read_scene(prompt)
    assert text.objects == objects
    assert [(r.subject, r.words, r.kind, r.object) for r in text.relations] == relations


@pytest.mark.parametrize(
    "prompt",
    [
        "a ball on a box and the box on the ball",
        "a ball left of a box, the box left of the ball",
        "a ball behind a box and the ball in front of the box",
    ],
)
def test_relations_that_contradict_each_other_are_refused(prompt):
    with pytest.raises(ConfigError, match="contradicts itself"):
        read_scene(prompt)
