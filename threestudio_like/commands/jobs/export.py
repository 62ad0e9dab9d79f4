"""`export`: a run's asset, or a mesh file, in other formats."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ...engine.errors import ConfigError, ExportError, InputError, did_you_mean
from ...engine.output import MadeFiles, check_free, write_files
from ...engine.registry import read_plugin_file
from ...engine.text import json_text, printable
from ...meshes.features import Feature, loss_line
from ...meshes.fitting import fitted
from ...meshes.frames import Normalisation
from ...meshes.io.files import encode, losses
from ...meshes.io.formats import FORMATS, writable
from ...meshes.io.splats.splats import formats as splat_formats
from ...meshes.mesh import Asset
from ...meshes.verification import Verdict, verify
from ...renderers import RingCameras
from ...reports import Film, film
from ..export import Export
from .export_physics import physical, with_bodies
from .export_splats import check as check_splats
from .export_splats import encoded as splat_files
from .export_splats import has_splats, is_splat_file, is_splat_format, mesh_of, target_of

RECORD = "work/exported.json"
"""What exports of a run have made, in its folder: they may be made again."""


def export(options: Export) -> list[tuple[Path, Verdict | None]]:
    """Write an asset in other formats and print a line for each file.

    Raises:
        InputError, ConfigError, OutputError: nothing to export, no such format, a file in the way.
        ExportError: a file that was written does not show the asset.
    """
    lost: dict[Path, list[Feature]] = {}
    written = write_formats(options, lost)
    for path, verdict in written:
        if options.json:
            facts = {} if verdict is None else dict(vars(verdict))
            if lost.get(path):
                facts["not kept"] = [feature.facts() for feature in lost[path]]
            print(json_text({"path": str(path), **facts}))
        else:
            line = f"{path}" + ("" if verdict is None else f"  ({verdict.line()})")
            print(printable(line))
    bad = [path.name for path, verdict in written if verdict is not None and not verdict.passed]
    if bad:
        raise ExportError(
            f"did not pass verification: {', '.join(bad)}",
            str(options.source),
            "Use GLB, or repair the mesh first",
        )
    return written


def write_formats(
    options: Export, lost: dict[Path, list[Feature]] | None = None
) -> list[tuple[Path, Verdict | None]]:
    """Write a run's asset, or a mesh file, in other formats beside it. What a reader had to guess,
    and what a format could not keep, is told in a line each.

    All files of all formats, those beside them too, are made and checked before the first is
    written. What an earlier export of the same run wrote is replaced, unless it was changed since;
    nothing else is, unless forced.

    Args:
        lost: what every file could not keep is added here, by its path.

    Returns:
        A path and, if verified, a verdict for each format.

    Raises:
        ConfigError: an unknown format, or one that cannot be read back to be verified.
        InputError: there is no asset.
        OutputError: a file of the user's would be replaced.
    """
    if not options.to:
        raise ConfigError("names no format", "--to", "Name one at least: --to glb")
    for plugin in options.plugins:
        read_plugin_file(plugin)
    source = options.source.expanduser()
    formats = [kind.lower().lstrip(".") for kind in options.to]
    for kind in formats:
        if not is_splat_format(kind):
            _check_format(kind, options.verify)
    wanted = {kind for kind in formats if is_splat_format(kind)}
    formats = [kind for kind in formats if kind not in wanted]
    bodies = {FORMATS.get(kind).suffixes[0] for kind in physical(formats, options)}
    path = source / "asset.glb" if source.is_dir() else source
    if not path.is_file():
        raise InputError(
            "there is no asset to export",
            str(path),
            "Give the folder of a finished run, or a mesh file",
        )
    made = MadeFiles(source / RECORD, source) if source.is_dir() else None
    known = made.holds if made is not None else None
    folder = path.parent if options.out is None else options.out.expanduser()
    place = folder / path.name
    changed = bool(options.faces or options.texture)
    targets = [place.with_suffix(FORMATS.get(kind).suffixes[0]) for kind in formats]
    # Never the asset itself; a file with bodies is another one too.
    targets = [
        t.with_name(f"{t.stem}-export{t.suffix}")
        if t.resolve() == path.resolve() and (changed or t.suffix in bodies)
        else t
        for t in targets
    ]
    new = [t for t in dict.fromkeys(targets) if t.resolve() != path.resolve()]
    turn = _film_of(options)
    filmed = [] if turn is None else [place.with_name(f"{place.stem}-turntable{turn.suffix}")]
    splats = {target_of(place, kind): kind for kind in sorted(wanted)}
    check_free([*new, *filmed, *splats], force=options.force, made=known)
    asset = _asset_of(path, options, needed=bool(new or filmed or targets))
    files = splat_files(source, asset, splats)
    if splats and changed and has_splats(source):
        asset.notes.append(
            "the 3D Gaussians are written as they are: --faces and --texture are of meshes"
        )
    made_of = _assets_of(asset, targets, bodies, options)
    for target in new:
        files |= _encoded_beside(made_of[target], target, files)
    if turn is not None:
        files |= {filmed[0]: film(asset, turn)}
    write_files(files, force=options.force, made=known)
    if made is not None:
        made.add(files)
    _tell(asset, made_of, new, {} if lost is None else lost)
    for target, kind in splats.items():
        check_splats(target, kind, files[target])
    others = [*filmed, *splats]
    if not options.verify:
        return [(target, None) for target in [*targets, *others]]
    checked = [(target, _verified(target, made_of[target])) for target in targets]
    return [*checked, *((target, None) for target in others)]


def _verified(target: Path, asset: Asset) -> Verdict:
    """A file read back and compared with the asset that it was made of."""
    cameras = RingCameras().all(160).view_projection().numpy()
    # A mesh of the user's may stand anywhere and be of any size.
    points = np.concatenate([m.vertices for m in asset.meshes.values()])
    return verify(target, asset, cameras, place=Normalisation.of(points).apply)


def _assets_of(
    asset: Asset, targets: list[Path], bodies: set[str], options: Export
) -> dict[Path, Asset]:
    """What every file is made of: the asset, or for suffixes in `bodies` its rigid bodies."""
    if not any(target.suffix in bodies for target in targets):
        return dict.fromkeys(targets, asset)
    rigid = with_bodies(asset, options)
    return {target: rigid if target.suffix in bodies else asset for target in targets}


def _asset_of(path: Path, options: Export, *, needed: bool) -> Asset:
    """The asset of a file; of 3D Gaussians the mesh of their surface, where a mesh is `needed`."""
    if is_splat_file(path):
        asset = mesh_of(path) if needed else Asset({})
    else:
        asset = Asset.load(path)
    return fitted(asset, options.faces, options.texture) if asset.meshes else asset


def _encoded_beside(asset: Asset, target: Path, others: dict[Path, bytes]) -> dict[Path, bytes]:
    """The files of a format. Where one beside it would have the name of another format's file but
    not its bytes, they are called after the format too."""
    files = encode(asset, target)
    if all(others.get(path, data) == data for path, data in files.items()):
        return files
    other = target.with_name(f"{target.stem}-{target.suffix[1:]}{target.suffix}")
    return {target if path == other else path: data for path, data in encode(asset, other).items()}


def _tell(
    asset: Asset,
    made_of: dict[Path, Asset],
    targets: list[Path],
    lost: dict[Path, list[Feature]],
) -> None:
    """Print what the reader noted, and what every file could not keep."""
    for note in asset.notes:
        print(printable(f"Note: {note}."), file=sys.stderr)
    for target in targets:
        lost[target] = losses(made_of[target], target)
        if lost[target]:
            print(printable(loss_line(lost[target], target.name)), file=sys.stderr)


def _film_of(options: Export) -> Film | None:
    """The film that is wanted. Raises ConfigError."""
    how = Film(
        size=options.size,
        fps=options.fps,
        seconds=options.seconds,
        transparent=options.transparent,
    )
    if options.turntable:
        how.check()
        return how
    if how != Film():
        raise ConfigError(
            "are of the turntable", "--size, --fps, --seconds, --transparent", "Add --turntable"
        )
    return None


def _check_format(kind: str, verified: bool) -> None:
    if kind not in writable():
        raise ConfigError(
            f'there is no format "{kind}" that can be written',
            "--to",
            did_you_mean(kind, [*writable(), *splat_formats()]),
        )
    if verified and FORMATS.get(kind).read is None:
        raise ConfigError(
            f"{kind} files cannot be read back, so they cannot be compared",
            "--verify",
            "Leave it out, or choose another format",
        )
