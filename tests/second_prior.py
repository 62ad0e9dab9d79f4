"""A second small prior, laid out otherwise than the embedded one and made of it: a tokenizer of
whole words in another order, a camera vector of other numbers in other axes, ray maps in a world
whose +Z is up. It makes the same predictions where its prior.json declares all that.
Also a script: python -m tests.second_prior FOLDER."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from threestudio_like.priors.registry import embedded_folder

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
CAMERA = {
    "level": {"background": 2.0},
    "cos azimuth": {"cos azimuth": 1.0},
    "57.29578 * azimuth": {},
    "2 * sin azimuth": {"sin azimuth": 0.5},
    "zero": {},
    "-1 * sin 2 azimuth": {"sin 2 azimuth": -1.0},
    "known": {"known": 1.0, "background": -1.0},
    "sin elevation": {"sin elevation": 1.0},
    "-0.5 * cos 2 azimuth": {"cos 2 azimuth": -2.0},
    "polar": {},
    "cos elevation": {"cos elevation": 1.0},
}
"""Its numbers, and what of each makes those of the embedded prior's vector: its background is from
0 to 1, and 2 level - 1 there. Numbers that make nothing have weights of zero."""
FIRST = (
    *("sin azimuth", "cos azimuth", "sin 2 azimuth", "cos 2 azimuth"),
    *("sin elevation", "cos elevation", "background", "known"),
)
"""The embedded prior's vector."""
AXES = ("x", "-z", "y")
"""Its x, y and z among our axes: +Z is up, and the front looks along -Y."""


def convert(folder: Path, **declared: Any) -> Path:
    """Save it to a folder that does not exist.

    Args:
        declared: keys of its prior.json in place of the true ones; None leaves a key out.
    """
    source = embedded_folder("diffusion")
    shutil.copytree(source, folder)
    own = json.loads((source / "prior.json").read_text())
    # It makes colours alone.
    own.pop("normals", None)
    _words(folder, own["vocabulary"])
    _network(folder / "unet")
    facts = {
        **own,
        "camera_vector": list(CAMERA),
        "ray_maps": True,
        "ray_axes": list(AXES),
        **declared,
    }
    facts = {key: value for key, value in facts.items() if value is not None}
    (folder / "prior.json").write_text(json.dumps(facts))
    return folder


def _words(folder: Path, vocabulary: list[str]) -> None:
    """A tokenizer whose every word is a token, in falling order, and the text encoder's rows in
    that order."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    old = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    words = sorted({*vocabulary, ","}, reverse=True)
    ids = {UNKNOWN: 0, END: 1, BEGIN: 2, **{word: k for k, word in enumerate(words, 3)}}
    made = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])]
    )
    shutil.rmtree(folder / "tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        model_max_length=int(old.model_max_length),
    ).save_pretrained(folder / "tokenizer")

    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    (name,) = (key for key in tensors if key.endswith("token_embedding.weight"))
    table = tensors[name]
    rows = torch.zeros(len(ids), table.shape[1], dtype=table.dtype)
    for word, row in ids.items():
        if word in (BEGIN, END):
            rows[row] = table[old.bos_token_id if word == BEGIN else old.eos_token_id]
        elif word != UNKNOWN:
            (before,) = old(word, add_special_tokens=False).input_ids
            rows[row] = table[before]
    save_file({**tensors, name: rows}, path)
    path = path.with_name("config.json")
    config = json.loads(path.read_text())
    config |= {"vocab_size": len(ids), "bos_token_id": ids[BEGIN]}
    config |= {"eos_token_id": ids[END], "pad_token_id": ids[END]}
    path.write_text(json.dumps(config))


def _network(unet: Path) -> None:
    """The first layers of the camera vector and of the ray maps, for the other numbers."""
    path = unet / "diffusion_pytorch_model.safetensors"
    tensors = {key: value.float() for key, value in load_file(path).items()}
    first = tensors["class_embedding.linear_1.weight"]
    made = torch.zeros(len(first), len(CAMERA))
    for k, parts in enumerate(CAMERA.values()):
        for name, factor in parts.items():
            made[:, k] += factor * first[:, FIRST.index(name)]
    tensors["class_embedding.linear_1.weight"] = made
    weights = tensors["conv_in.weight"]
    turned = weights.clone()
    for begin in (4, 7):
        for k, axis in enumerate(AXES):
            sign = -1.0 if axis[0] == "-" else 1.0
            turned[:, begin + k] = sign * weights[:, begin + "xyz".index(axis[-1])]
    tensors["conv_in.weight"] = turned
    save_file(tensors, path)
    config = json.loads((unet / "config.json").read_text())
    config["projection_class_embeddings_input_dim"] = len(CAMERA)
    (unet / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
