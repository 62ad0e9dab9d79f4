"""The command line: one function per verb, typed by tyro. Every mistake of the user ends in one
line and exit code 2."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from .commands.arguments import (
    Common,
    Completion,
    Compose,
    Doctor,
    Evaluate,
    Export,
    Generate,
    MeshTool,
    Reconstruct,
    Refine,
    Samples,
    Texture,
    Train,
    View,
    Vocabulary,
)
from .commands.parsing import CONFIGURED, PROGRAM, VERBS, parse, take_plugins
from .engine.errors import ConfigError, UserError, did_you_mean
from .engine.text import json_text, printable


def _summary(verb: type) -> str:
    return " ".join((verb.__doc__ or "").split()).split(". ")[0].rstrip(".")


def _help() -> str:
    lines = [
        f"usage: {PROGRAM} VERB [options]",
        "",
        "Text to 3D by optimisation against pretrained priors. Offline on a laptop.",
        "",
    ]
    lines += [f"  {name:<12}{_summary(kind)}" for name, kind in VERBS.items()]
    lines += [
        "",
        f"{PROGRAM} VERB --help lists a verb's options.",
        'First: threestudio-like generate "a red chair"',
    ]
    return "\n".join(lines)


def _options(
    common: Common, dotted: dict[str, str], system: str, kind: Any = None, **more: Any
) -> Any:
    from .kernels.devices import MAIN
    from .meshes.extraction import ExtractionConfig
    from .priors.stable_diffusion import DiffusersConfig
    from .runs.options import Options, choose_kernels
    from .stages.field_to_mesh import AssetConfig

    device = common.device or MAIN
    choose_kernels(common.kernels, device)
    export = AssetConfig(texture=common.texture, extraction=ExtractionConfig(faces=common.faces))
    load = DiffusersConfig(
        dtype=common.dtype,
        device=device,
        attention_slicing=common.attention_slicing,
        offload=common.offload,
        compile=common.compile,
    )
    return (kind or Options)(
        out=common.out,
        seed=common.seed,
        steps=common.steps,
        resolution=common.resolution,
        device=device,
        prior=common.prior,
        system=system,
        preset=common.preset,
        guidance=common.guidance,
        negative=common.negative,
        concept=common.concept,
        embeddings=common.embeddings,
        save_embeddings=common.save_embeddings,
        force=common.force,
        config=common.config,
        set=dotted,
        resume=common.resume,
        minutes=common.minutes,
        memory=common.memory,
        export=export,
        load=load,
        preview_seconds=common.preview_seconds,
        log_every=max(1, common.log_every),
        checkpoint_steps=common.checkpoint_steps,
        viewer=common.viewer,
        accumulate=getattr(common, "accumulate", 1),
        verbosity="json" if common.json else "quiet" if common.quiet else "line",
        **more,
    )


def _threads(count: int | None) -> None:
    import torch

    if count is not None:
        if count < 1:
            raise ConfigError(f"must be at least 1, got {count}", "--threads")
        torch.set_num_threads(count)


def _print_config(prompt: str, options: Any, verb: str) -> None:
    from .engine.config import to_dict, write_yaml
    from .runs import session as run

    preset = "default" if options.preset == "auto" else options.preset
    facts = {
        "prompt": prompt,
        "system": options.system,
        "preset": preset,
        "prior": options.prior,
        "seed": options.seed,
    }
    print(
        write_yaml({**facts, "config": to_dict(run.configure(options, preset, verb=verb))}), end=""
    )


def generate(arguments: Generate, dotted: dict[str, str]) -> None:
    """`generate`: prompt to asset; by a picture in between, where the system is one of
    `reconstruct`."""
    from .commands import reconstruct as reconstruction
    from .runs import session as run
    from .systems import registry

    _threads(arguments.threads)
    pictured = registry.SYSTEMS.get(arguments.system, "--system").task == "image-to-3d"
    kind = reconstruction.ReconstructOptions if pictured else None
    options = _options(
        arguments,
        dotted,
        arguments.system,
        kind,
        sketch=arguments.sketch,
        strictness=arguments.strictness,
    )
    if arguments.print_config:
        _print_config(arguments.prompt, options, "reconstruct" if pictured else "generate")
    elif pictured:
        reconstruction.imagine(arguments.prompt, options)
    else:
        run.generate(arguments.prompt, options)


def texture(arguments: Texture, dotted: dict[str, str]) -> None:
    """`texture`: a mesh and a prompt to the same mesh, painted."""
    from .commands import texture as texturing
    from .meshes.frames import Frame
    from .runs.options import TextureOptions

    _threads(arguments.threads)
    options = _options(
        arguments,
        dotted,
        arguments.system,
        TextureOptions,
        frame=Frame(arguments.up, arguments.front, arguments.unit),
        unwrap=arguments.unwrap,
        lock=arguments.lock,
        lock_parts=arguments.lock_parts,
        drop_textures=arguments.drop_textures,
    )
    if arguments.print_config:
        _print_config(arguments.prompt, options, "texture")
    else:
        texturing.texture(arguments.mesh, arguments.prompt, options)


def reconstruct(arguments: Reconstruct, dotted: dict[str, str]) -> None:
    """`reconstruct`: a picture to an asset."""
    from .commands import reconstruct as reconstruction
    from .systems import registry

    _threads(arguments.threads)
    system = reconstruction.BEST
    if arguments.method != "auto":
        registry.system_kind(arguments.method, "reconstruct", "--method")
        system = registry.SYSTEMS.canonical(arguments.method)
    options = _options(
        arguments, dotted, system, reconstruction.ReconstructOptions, prompt=arguments.prompt
    )
    if arguments.print_config:
        _print_config(arguments.prompt, options, "reconstruct")
    else:
        reconstruction.reconstruct(arguments.picture, options)


def compose(arguments: Compose, dotted: dict[str, str]) -> None:
    """`compose`: a picture of several objects, or a text, to a scene."""
    from .commands import compose as composing

    _threads(arguments.threads)
    options = _options(
        arguments,
        dotted,
        "comboverse",
        composing.ComposeOptions,
        boxes=arguments.boxes,
        masks=arguments.masks,
        objects=arguments.objects,
        spatial_words=arguments.spatial_words,
        method=arguments.method,
        fov=arguments.fov,
        elevation=arguments.elevation,
    )
    if arguments.print_config:
        _print_config(arguments.text or arguments.prompt, options, "compose")
        return
    if arguments.pick:
        options.boxes = composing.picked(arguments.picture, arguments.prompt, options)
    composing.compose_any(arguments.picture, arguments.prompt, arguments.text, options)


def view(arguments: View) -> None:
    """`view`: a run, a mesh, or a picture whose objects are clicked."""
    from .commands import view as viewing

    options = viewing.ViewOptions(
        arguments.port, arguments.browser, arguments.segmenter, arguments.seconds
    )
    command = viewing.view(arguments.path, arguments.prompt, options)
    if command:
        print(command)


def mesh(arguments: MeshTool) -> None:
    """`mesh`: the mesh toolchain on files."""
    from .meshes.frames import Frame
    from .meshes.toolchain import ToolOptions, run_tool
    from .reports.text import lines_of

    options = ToolOptions(
        out=arguments.out,
        frame=Frame(arguments.up, arguments.front, arguments.unit),
        to_frame=Frame(arguments.to_up, arguments.to_front, arguments.to_unit),
        faces=arguments.faces,
        weld=arguments.weld,
        holes=arguments.holes,
        texture=arguments.texture,
        backend=arguments.backend,
        textures=not arguments.drop_textures,
        edge=arguments.edge,
        depth=arguments.depth,
        onto=arguments.onto,
        hidden=arguments.hidden,
        force=arguments.force,
    )
    findings = run_tool(arguments.action, arguments.mesh, options)
    print(json_text(findings, indent=1) if arguments.json else lines_of(findings))


def refine(arguments: Refine, dotted: dict[str, str]) -> None:
    """`refine`: latent field to RGB."""
    from .runs import session as run

    _threads(arguments.threads)
    run.refine(arguments.run, _options(arguments, dotted, "latent-nerf"))


def export(arguments: Export) -> None:
    """`export`: other formats."""
    from .engine.errors import ExportError
    from .runs import session as run

    written = run.export(
        arguments.run,
        [f.lower().lstrip(".") for f in arguments.to],
        arguments.verify,
        force=arguments.force,
    )
    bad = []
    for path, verdict in written:
        if arguments.json:
            print(json_text({"path": str(path), **({} if verdict is None else vars(verdict))}))
        else:
            line = f"{path}" + ("" if verdict is None else f"  ({verdict.line()})")
            print(printable(line))
        if verdict is not None and not verdict.passed:
            bad.append(path.name)
    if bad:
        raise ExportError(
            f"did not pass verification: {', '.join(bad)}",
            str(arguments.run),
            "Use GLB, or repair the mesh first",
        )


def evaluate(arguments: Evaluate) -> None:
    """`evaluate`: figures of an asset."""
    from .metrics.evaluation import evaluate as measure
    from .reports.text import lines_of

    figures = measure(arguments.run, arguments.prompt, arguments.truth, arguments.instances)
    print(json_text(figures) if arguments.json else lines_of(figures))


def train(arguments: Train, dotted: dict[str, str]) -> None:
    """`train`: embedded priors, a new word, image-to-3D models."""
    from .kernels.devices import MAIN

    device = arguments.device or MAIN
    if arguments.what == "concept":
        from .training.textual_inversion import ConceptOptions, train_concept

        train_concept(
            ConceptOptions(
                images=arguments.images,
                token=arguments.token,
                word=arguments.word,
                prior=arguments.prior,
                out=arguments.out,
                steps=arguments.steps or 400,
                seed=arguments.seed,
                device=device,
                resume=arguments.resume,
                quiet=arguments.quiet,
                force=arguments.force,
                vectors=arguments.vectors,
            )
        )
        return
    if dotted and arguments.what not in ("cisp", "voxel-diffusion", "g3dr"):
        raise ConfigError(
            f'there is no option "--{next(iter(dotted))}"', f"{PROGRAM} train {arguments.what}"
        )
    from .training.options import TrainingOptions
    from .training.registry import TRAININGS

    names = {"voxel-diffusion": "cisp", "toybox": "toybox-training", "all": "trained"}
    out = arguments.out or Path("outputs") / names.get(arguments.what, arguments.what)
    TRAININGS[arguments.what](
        TrainingOptions(
            data=arguments.data,
            out=out,
            preset=arguments.preset,
            embedding=arguments.embedding,
            start=arguments.start,
            objects=arguments.objects,
            groups=arguments.groups,
            only=arguments.only,
            steps=arguments.steps,
            minutes=arguments.minutes,
            workers=arguments.workers,
            seed=arguments.seed,
            device=device,
            resume=arguments.resume,
            quiet=arguments.quiet,
            force=arguments.force,
            set=dotted,
        )
    )


def doctor(arguments: Doctor) -> None:
    """`doctor`: what works here."""
    from .commands.doctor import examine, table

    findings = examine()
    print(json_text(findings, indent=1) if arguments.json else table(findings))


def samples(arguments: Samples) -> None:
    """`samples`: the files that the documentation uses."""
    from .commands.samples import write_samples

    new, total = write_samples(arguments.folder, force=arguments.force)
    print(f"{arguments.folder}: {total} sample files, {len(new)} of them new")


def vocabulary(arguments: Vocabulary) -> None:
    """`vocabulary`: the words of the embedded prior."""
    from .toybox import vocabulary as words

    lists = {
        "categories": list(words.CATEGORIES),
        "colours": list(words.COLOURS),
        "patterns": list(words.PATTERNS),
        "shapes": [f"{m} {c}" for c, modes in words.MODES.items() for m in modes],
        "relations": list(words.RELATIONS),
        "synonyms": [f"{a} = {b}" for a, b in words.SYNONYMS.items()],
    }
    if arguments.json:
        print(json_text(lists))
        return
    for name, items in lists.items():
        print(f"{name:<12}{', '.join(items)}")
    print(
        '\nPrompts: "a red chair", "a striped blue mug", "a round brown table", "a red '
        'ball on a blue box".'
    )


def completion(arguments: Completion) -> None:
    """`completion`: a script for the shell."""
    union: Any = None
    for name, kind in VERBS.items():
        member: Any = Annotated[kind, tyro.conf.subcommand(name)]  # type: ignore[valid-type]
        union = member if union is None else union | member
    with contextlib.suppress(SystemExit):
        tyro.cli(union, args=["--tyro-print-completion", arguments.shell], prog=PROGRAM)


def _speaks() -> bool:
    """Whether an error is to be said by this process, which may be one of several (`--ranks`)."""
    if "THREESTUDIO_LIKE_RANK" not in os.environ:
        return True
    from .runs import launcher as ranks

    return ranks.speaks()


def leave_quickly() -> None:
    """End without looking for cycles of garbage, which takes longer than small runs; but Triton
    complains of what it was not given back."""
    if "triton" not in sys.modules:
        gc.freeze()


def say_what_can_be_said() -> None:
    """Let a terminal that does not know a letter show its number instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    say_what_can_be_said()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from . import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    try:
        verb = arguments[0]
        if verb not in VERBS:
            raise ConfigError(f'there is no verb "{verb}"', PROGRAM, did_you_mean(verb, VERBS))
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Python's last collection walks all that the libraries have loaded: two seconds for
        # nothing.
        atexit.register(leave_quickly)
        parsed, dotted = parse(verb, VERBS[verb], take_plugins(arguments[1:]))
        if getattr(parsed, "ranks", 1) != 1:
            from .runs import launcher as ranks

            if not ranks.launched():
                return ranks.launch(parsed.ranks, arguments)
        function: Any = globals()[verb]
        function(parsed, *([dotted] if VERBS[verb] in CONFIGURED else []))
        return 0
    except UserError as error:
        if _speaks():
            print(f"{PROGRAM}: {error.line()}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        if type(error).__name__ == "Interrupted":
            print(f"{PROGRAM}: stopped; the state is saved. Go on with --resume", file=sys.stderr)
            return 130
        if os.environ.get("THREESTUDIO_LIKE_DEBUG"):
            raise
        problem = " ".join(str(error).split())[:200]
        print(
            f"{PROGRAM}: unexpected {type(error).__name__}: {problem}. Please report it; "
            "THREESTUDIO_LIKE_DEBUG=1 shows where it happened",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
