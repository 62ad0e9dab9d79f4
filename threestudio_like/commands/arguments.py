"""The options of every verb as dataclasses: tyro turns them into the command line, the docstrings
into its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class PlugIns:
    """Options of every verb that asks a registry."""

    plugins: tuple[Path, ...] = ()
    """Python files that register something: a guidance, representation, prior, system or mesh
    format (docs/plug-ins.md)."""


@dataclass
class Common(PlugIns):
    """Options of every verb that runs."""

    out: Path | None = None
    """Folder of the run (default: outputs/<time>-<prompt>)."""
    seed: int = 0
    """Same seed, same bytes on CPU."""
    steps: int | None = None
    """Steps of distillation in all; several stages keep their proportion."""
    resolution: int | None = None
    """Height and width of the rendering that is distilled, pixels."""
    device: str | None = None
    """cpu (where nothing is said), cuda, cuda:1 or mps."""
    kernels: Literal["auto", "triton", "vendor", "reference"] = "auto"
    """auto: Numba on the CPU, Triton on a GPU. vendor: tiny-cuda-nn, nerfacc and nvdiffrast where
    they are installed. reference: plain torch."""
    prior: str = "toybox"
    """The embedded "toybox", a model folder, a logical name (sd-1.5, sd-2.1-base, …) or a hub
    id."""
    preset: Literal["auto", "default", "paper"] = "auto"
    """auto: default for camera-conditioned priors, paper for the others."""
    guidance: str = ""
    """A guidance in place of score distillation. More of them are weighted in by name:
    --guidance.clip.weight 0.1; doctor lists them."""
    negative: str = ""
    """Negative prompt."""
    concept: Path | None = None
    """Textual-inversion file to load: learned_embeds.safetensors or .bin."""
    embeddings: Path | None = None
    """Bundle of prompt embeddings to use instead of the text encoder."""
    save_embeddings: Path | None = None
    """Write this run's prompt embeddings as a bundle."""
    force: bool = False
    """Replace the file of --save-embeddings, if there is one; a run's folder never is."""
    config: Path | None = None
    """A run.yaml to take values from."""
    print_config: bool = False
    """Print the configuration and stop."""
    resume: bool = False
    """Go on with the run in --out (default: outputs/latest)."""
    minutes: float | None = None
    """Time limit; schedules fit into it."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Number type of the prior. auto: bfloat16 where the CPU has it, float16 on a GPU, else
    float32."""
    attention_slicing: bool = False
    """Less memory for attention, slower."""
    memory: str = ""
    """A budget to keep, such as 6GB, 8GB, 16GB or 24GB: a forecast chooses what is done at once;
    gradients stay the same."""
    compile: bool = False
    """torch.compile the prior's UNet: faster after a first minute."""
    offload: bool = False
    """Keep the prior's weights in main memory between uses (small GPUs)."""
    texture: int = 512
    """Texture size, pixels."""
    faces: int = 16000
    """Face budget of the mesh; 0 keeps all."""
    preview_seconds: float = 5.0
    """Seconds between previews in work/preview.png."""
    log_every: int = 10
    """Steps between events."""
    viewer: bool = False
    """Show the run in the browser while it goes."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints (default: every 20 seconds)."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """Print events as JSON lines on standard output."""
    threads: int | None = None
    """CPU threads (default: all cores)."""


@dataclass
class SharedViews:
    """Options of verbs whose steps' views can be worked on in parts."""

    ranks: int = 1
    """Processes that share the views of a step; on GPUs one each. The result is that of one with
    all of them."""
    accumulate: int = 1
    """Parts of a step's views that are worked on one after the other, for less memory. Two parts
    are, bit for bit, what two ranks of as many threads make."""


@dataclass
class Generate(Common, SharedViews):
    """Make a 3D asset of a prompt. Every value of the system's configuration is an option by its
    dotted name (--distil.guidance.scale 7); --print-config lists them."""

    prompt: tyro.conf.Positional[str] = ""
    """What to make: "a red chair"."""
    sketch: Path | None = None
    """A coarse shape to follow: a mesh file, or a YAML list of primitives (assets/shapes holds
    some)."""
    strictness: float | None = None
    """How closely the sketch is followed, from 0 (not at all) to 1 (its surface)."""
    system: str = "latent-nerf"
    """latent-nerf, dreamfusion, or a plug-in's; cisp, g3dr, field make a picture of the prompt
    first (of none: what the prior likes)."""


@dataclass
class Reconstruct(Common):
    """Make a 3D asset of one picture of an object. Every value of the method's configuration is an
    option by its dotted name (--shape.candidates 8); --print-config lists them."""

    picture: tyro.conf.Positional[Path] = Path("picture.png")
    """PNG, JPEG, WebP, with alpha or without."""
    method: str = "auto"
    """cisp: a CISP embedding guides voxel diffusion. g3dr: a generator makes a triplane of the
    picture and its depth. field: a field is
    optimised for this picture. auto: the one that measures best on this prior."""
    prompt: str = ""
    """What the picture shows; guides what is painted where the picture does not show the object.
    Guessed by default."""


@dataclass
class Compose(Common):
    """Make one scene of a picture of several objects, or of a text alone: a GLB with a named node
    an object. Every value of the configuration is an option by its dotted name
    (--place.spatial.factor 10); --print-config lists them."""

    picture: tyro.conf.Positional[str] = ""
    """PNG, JPEG, WebP, with alpha or without; none with --text."""
    prompt: tyro.conf.Positional[str] = ""
    """What it shows, each object once: "a red ball on a blue box". Without it the objects are
    placed by the picture alone."""
    text: str = ""
    """Instead of a picture: the objects are made of this prompt, and placed by what it says."""
    boxes: tuple[str, ...] = ()
    """Where the objects are, in the prompt's order, pixels: --boxes 10,20,90,120 100,15,180,130.
    Found by the segmenter otherwise."""
    pick: bool = False
    """Click the objects in the browser instead."""
    masks: Path | None = None
    """A folder with a black and white picture for each object, in the order of their names."""
    objects: tuple[Path, ...] = ()
    """Your own meshes, in the prompt's order; only where they stand is sought then."""
    method: str = "auto"
    """How each object is reconstructed: see reconstruct --method."""
    spatial_words: tuple[str, ...] = ()
    """Words of the prompt that say where things are (found in it by default): --spatial-words
    "sitting on"."""
    fov: float = 0.0
    """Vertical field of view of the picture, degrees; 0: the prior's own camera, or fitted where it
    knows none."""
    elevation: float | None = None
    """Degrees by which the picture looks down; from the objects' own pictures by default."""


@dataclass
class View(PlugIns):
    """Show a run (also while it goes), a mesh, or a picture whose objects you click: then it prints
    the compose command with their boxes. In the browser, on this machine alone."""

    path: tyro.conf.Positional[Path] = Path("outputs/latest")
    """A run's folder, a GLB, glTF, OBJ, PLY or STL, or a PNG, JPEG, WebP."""
    prompt: tyro.conf.Positional[str] = ""
    """Of a picture: what it shows, "a red ball on a blue box"."""
    port: int = 0
    """0 takes a free one."""
    browser: bool = True
    """Open the browser, where there is a screen."""
    segmenter: str = "toybox"
    """Finds what is clicked: the embedded one, a name (sam-vit-base, sam2.1-tiny, …), a folder or a
    checkpoint."""
    seconds: float | None = None
    """End after so long; by default with Ctrl-C, or when the boxes are given."""


@dataclass
class FileFrame:
    """The frame of a mesh file."""

    up: str = "y"
    """Axis of the file that points up: x, y, z, -x, -y, -z."""
    front: str = "z"
    """Axis of the file that points to the front (Blender's OBJ with Z up: --up z --front -y)."""
    unit: str = "m"
    """Length of the file's unit: m, dm, cm, mm, in, ft, km."""


@dataclass
class Texture(Common, FileFrame, SharedViews):
    """Paint a mesh by a prompt: your positions, texture coordinates, parts and names stay. Every
    value of the system's configuration is an option by its dotted name (--rgb.guidance.scale 6)."""

    mesh: tyro.conf.Positional[Path] = Path("mesh.glb")
    """GLB, glTF, OBJ, PLY or STL."""
    prompt: tyro.conf.Positional[str] = ""
    """What it should look like: "a striped blue chair"."""
    system: str = "latent-paint"
    """latent-paint, or a plug-in's."""
    unwrap: Literal["auto", "keep", "always"] = "auto"
    """auto: keep texture coordinates that are a proper atlas, make new ones elsewhere; keep: keep
    any; always: make all anew."""
    lock: Path | None = None
    """Black and white picture over the texture coordinates: bright texels keep their colour."""
    lock_parts: tuple[str, ...] = ()
    """Names of parts or materials that keep their colour."""
    drop_textures: bool = False
    """Leave the file's own pictures alone, also missing ones."""


@dataclass
class MeshTool(FileFrame, PlugIns):
    """Inspect, repair, unwrap, decimate, convert, remesh or register a mesh file, or make one of
    points."""

    action: tyro.conf.Positional[
        Literal["info", "clean", "unwrap", "decimate", "convert", "remesh", "poisson", "register"]
    ] = "info"
    """What to do."""
    mesh: tyro.conf.Positional[Path] = Path("mesh.glb")
    """GLB, glTF, OBJ, PLY or STL."""
    out: Path | None = None
    """File to write; its suffix is the format."""
    force: bool = False
    """Replace files that exist."""
    to_up: str = "y"
    """Axis of the written file that points up."""
    to_front: str = "z"
    """Axis of the written file that points to the front."""
    to_unit: str = "m"
    """Length of the written file's unit."""
    faces: int = 5000
    """decimate: face budget of the whole file."""
    weld: float = 0.0
    """clean: vertices nearer than this share of the size become one (0: only those at one
    place)."""
    holes: int = 0
    """clean: fill holes of at most this many edges (0: none)."""
    texture: int = 1024
    """unwrap: texture size in pixels, for the space between charts."""
    backend: Literal["auto", "pymeshlab", "open3d"] = "auto"
    """Who does it: the core's own, or an extra (pip install '.[mesh]' in the checkout). remesh
    wants pymeshlab, poisson either of them."""
    hidden: bool = False
    """clean: remove faces that no view from outside sees."""
    edge: float = 0.0
    """remesh: length of the new triangles' edges in metres (0: a fiftieth of the part's
    diagonal)."""
    depth: int = 7
    """poisson: depth of the octree. The input is a PLY of points, with normals or without, or a
    mesh whose surface is sampled."""
    onto: Path | None = None
    """register: mesh or points to move to, rigidly, by iterated closest points."""
    drop_textures: bool = False
    """Leave the file's pictures alone, also missing ones."""
    json: bool = False
    """Print as JSON."""


@dataclass
class Refine(Common, SharedViews):
    """Refine a finished run in RGB: a linear layer after the latent field, distillation through the
    encoder."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of the run to refine."""


@dataclass
class Export(PlugIns):
    """Write a run's asset in other formats."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    to: tuple[str, ...] = ("glb",)
    """Formats: glb, obj, ply, stl, or a plug-in's."""
    force: bool = False
    """Replace files that exist; what an earlier export of the run wrote is replaced anyway."""
    verify: bool = False
    """Read every file back, render it and compare; a bad file is an error."""
    json: bool = False
    """Print the verdicts as JSON."""


@dataclass
class Evaluate(PlugIns):
    """Measure an asset: judge, CLIP, silhouettes, consistency, Janus index; with --truth also the
    geometry."""

    run: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    prompt: str = ""
    """What the asset should show (default: the run's prompt)."""
    truth: Path | None = None
    """A mesh to compare the geometry with."""
    instances: int = 200
    """Objects of the category that the silhouettes are held against."""
    json: bool = False
    """Print the figures as JSON."""


@dataclass
class Train:
    """Train the embedded models (all, toybox ...), a new word (concept), or image-to-3D models
    (cisp, voxel-diffusion, g3dr ...). Resumable.

    Values of the configuration of cisp, voxel-diffusion and g3dr are options by their dotted names
    (--model.width, --batch)."""

    what: tyro.conf.Positional[
        Literal[
            "toybox",
            "all",
            "concept",
            "cisp",
            "voxel-diffusion",
            "g3dr",
            "depth",
            "perceptual",
            "segmenter",
        ]
    ] = "toybox"
    """all: every embedded model, one after the other. toybox: the text-to-image model, CLIP and the
    judges. concept: writes
    learned_embeds.safetensors. cisp: the contrastive encoders. voxel-diffusion: the generator of
        shapes under their embeddings. g3dr: the
    generator of triplanes. depth, perceptual, segmenter: the embedded depth estimator, perceptual
    network and segmenter."""
    data: Path | None = None
    """cisp, voxel-diffusion: folder with ShapeNetRendering and ShapeNetVox32. g3dr: folder of
    pictures, each with name.depth.png beside it or without. The toybox by default."""
    embedding: Literal["cisp", "clip"] = "cisp"
    """cisp, voxel-diffusion: pictures against shapes, or (the twin) against captions."""
    start: Path | None = None
    """cisp, voxel-diffusion, g3dr: folder of a model to begin from (the embedded ones lie in the
    package's toybox/weights/cisp)."""
    preset: Literal["toybox", "paper", "large"] = "toybox"
    """toybox: sizes and schedule of the embedded models. large: longer and partly wider, for a GPU.
    paper (cisp, voxel-diffusion, g3dr): the released sizes and schedules."""
    objects: int | None = None
    """cisp, voxel-diffusion, g3dr, depth, perceptual, segmenter: training objects (segmenter:
    scenes) of the toybox; by default 6000, or 16000 with --preset large."""
    only: Literal["all", "vae", "diffusion", "clip", "judge", "patterns"] = "all"
    """toybox: one of the networks (diffusion needs the vae)."""
    images: Path | None = None
    """concept: folder of pictures of one object; a cameras.json there ({name: {azimuth, elevation,
    background}}) tells where they were taken."""
    token: str = "<concept>"
    """concept: the new word, to be used literally in prompts."""
    word: str = ""
    """concept: a known word to start from."""
    vectors: int = 0
    """concept: tokens that the word stands for (0: one, four on the embedded prior)."""
    prior: str = "toybox"
    """concept: the prior that learns the word."""
    out: Path | None = None
    """Where checkpoints, data and results go (default: a folder of its name below outputs/)."""
    steps: int | None = None
    """Optimiser steps of each network."""
    minutes: float | None = None
    """Time limit of each network; with `all`, of all together."""
    groups: int | None = None
    """toybox: training objects, each seen from four sides; by default 16000, or 48000 with --preset
    large."""
    workers: int = 1
    """Processes that draw objects; on the CPU they also train the diffusion model side by side."""
    seed: int = 0
    """Seed of weights, data and noise."""
    device: str | None = None
    """cpu (where nothing is said), cuda, cuda:1 or mps."""
    resume: bool = False
    """Go on from the checkpoints in --out."""
    force: bool = False
    """Replace a trained model of the same name in --out."""
    quiet: bool = False
    """Say nothing but errors."""


@dataclass
class Doctor(PlugIns):
    """Show back ends, models, licences and disk, and what works now."""

    json: bool = False
    """Print as JSON."""


@dataclass
class Samples:
    """Write the sample shapes, pictures and meshes of the documentation into a folder."""

    folder: tyro.conf.Positional[Path] = Path("assets")
    """Where to; it gets shapes/, pictures/ and meshes/."""
    force: bool = False
    """Replace files of these names that are others."""


@dataclass
class Vocabulary:
    """List the words that the embedded prior knows."""

    json: bool = False
    """Print as JSON."""


@dataclass
class Completion:
    """Print a shell completion script."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]] = "bash"
    """Which shell."""
