"""Every file that is written goes through here: whole or not at all, and never over something that
the program did not make.

A file that exists already is replaced only where it lies in a folder that belongs to a run of this
process (`own_folder`), where the caller knows it as his own (`made`: for example by `made_here`, or
by the record of a `MadeFiles`), or where the user said `--force`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from .errors import OutputError


class OutputGuard:
    """What may be replaced: the folders of this process's runs, and the files that it made.

    A file counts as made here while its inode, size and time of change are those that it was left
    with.
    """

    def __init__(self) -> None:
        self._folders: set[Path] = set()
        self._made: dict[Path, tuple[int, int, int]] = {}

    def own(self, folder: Path) -> None:
        """From now on files below `folder` may be replaced."""
        self._folders.add(Path(os.path.realpath(folder)))

    def disown(self, folder: Path) -> None:
        """Files below `folder` are the user's again."""
        self._folders.discard(Path(os.path.realpath(folder)))

    def owns(self, path: Path) -> bool:
        """Whether a path lies in a folder of this process's runs."""
        place = _absolute(path)
        return any(place.is_relative_to(folder) for folder in self._folders)

    def note(self, path: Path) -> None:
        """Remember a file as made here."""
        with contextlib.suppress(OSError):
            self._made[_absolute(path)] = _stamp(path)

    def allows(self, path: Path) -> bool:
        """Whether writing to `path` would take nothing from the user."""
        if not os.path.lexists(path):
            return True
        if path.is_dir() and not path.is_symlink():
            return False
        return self.owns(path)

    def made_here(self, path: Path) -> bool:
        """Whether this process made the file, and nobody has touched it since."""
        try:
            return self._made.get(_absolute(path)) == _stamp(path)
        except OSError:
            return False

    def made(self) -> list[Path]:
        """The files that this process made and that are still as it made them."""
        return [path for path in self._made if self.made_here(path)]


GUARD = OutputGuard()
"""The guard of this process."""


def own_folder(folder: Path) -> None:
    """Say that a folder belongs to a run of this process: files below it may be replaced."""
    GUARD.own(folder)


def made_here(path: Path) -> bool:
    """Whether this process made the file, and nobody has touched it since: for calls that are
    repeated, such as `asset.save` in a notebook."""
    return GUARD.made_here(path)


def made_files() -> list[Path]:
    """The files that this process made, as far as nobody has touched them since."""
    return GUARD.made()


def check_free(
    paths: Iterable[Path], *, force: bool = False, made: Callable[[Path], bool] | None = None
) -> None:
    """Refuse where something of the user's would be replaced.

    Args:
        force: the user said so.
        made: tells of a path whether the caller made it, for example in an earlier process.

    Raises:
        OutputError: naming the first file that stands in the way.
    """
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            raise OutputError(
                "a folder of that name exists", str(path), "Choose another name with --out"
            )
        if not (force or GUARD.allows(path) or (made is not None and made(path))):
            raise OutputError(
                "a file of that name exists and would be replaced",
                str(path),
                "Choose another name, move the file away, or add --force (in Python: force=True)",
            )


def write_file(
    path: Path,
    data: bytes,
    *,
    force: bool = False,
    made: Callable[[Path], bool] | None = None,
) -> None:
    """Write bytes so that a reader sees the old file or the new one, never a part; see
    `write_files`. Raises OutputError."""
    write_files({path: data}, force=force, made=made)


def write_files(
    files: Mapping[Path, bytes],
    *,
    force: bool = False,
    made: Callable[[Path], bool] | None = None,
) -> None:
    """Write several files that belong together. All are checked, and all are written under
    temporary names, before the first gets its own. Folders are made.

    Raises:
        OutputError: a file exists that may not be replaced (`check_free`), or a write fails; then
            nothing has changed.
    """
    check_free(files, force=force, made=made)
    written: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            temporary = _temporary(path)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                written[path] = temporary
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise output_error(error, path) from None
        for path, temporary in written.items():
            _place(
                temporary, path, force or GUARD.allows(path) or (made is not None and made(path))
            )
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(
    path: Path, *, force: bool = False, made: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """For libraries that write to a path themselves: yields a temporary path beside `path` with its
    suffix; when the block ends well the file gets its name, else it is removed. Raises
    OutputError."""
    check_free([path], force=force, made=made)
    temporary = _temporary(path)
    temporary = temporary.with_name(temporary.name + path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _place(temporary, path, force or GUARD.allows(path) or (made is not None and made(path)))
    except OSError as error:
        raise output_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """For libraries that fill a folder themselves (`save_pretrained`): yields an empty temporary
    one beside `folder`; when the block ends well its files go to `folder`, all checked before the
    first is moved. What else lies there stays. Raises OutputError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{_shortened(folder.name)}.", dir=folder.parent))
    except OSError as error:
        raise output_error(error, folder) from None
    try:
        yield temporary
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        targets = [folder / p.relative_to(temporary) for p in files]
        check_free(targets, force=force)
        for source, target in zip(files, targets):
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(source, target, force or GUARD.allows(target))
    except OSError as error:
        raise output_error(error, folder) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class MadeFiles:
    """What earlier processes made, by its bytes: a small JSON record of names and hashes.

    A file that was changed since is the user's. The record is kept beside the files' folder, for
    example in a run's work/.
    """

    def __init__(self, record: Path, folder: Path) -> None:
        self.record, self.folder = record, folder
        self._hashes: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(record.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                self._hashes = {str(k): str(v) for k, v in found.items()}

    def holds(self, path: Path) -> bool:
        """Whether a file has the bytes that were recorded under its name."""
        try:
            return self._hashes.get(path.name) == _hash(path) and path.parent == self.folder
        except OSError:
            return False

    def add(self, paths: Iterable[Path]) -> None:
        """Record files of the folder as made, and write the record; files elsewhere are not
        recorded. Raises OutputError."""
        self._hashes |= {p.name: _hash(p) for p in paths if p.parent == self.folder}
        text = json.dumps(self._hashes, indent=1, sort_keys=True)
        # The record is the program's own, whatever it held before.
        write_file(self.record, text.encode(), force=True)


def output_error(error: OSError, path: Path) -> OutputError:
    """The OutputError for a failed write."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return OutputError(
            "the disk is full", str(path), "Free some space or choose another folder with --out"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputError(
            "cannot be written (no permission, or a read-only disk)",
            str(path),
            "Choose another folder with --out",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(
            "a file stands where a folder is needed", str(path), "Choose another folder with --out"
        )
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            "the name is too long", str(path)[:80] + "…", "Choose a shorter one with --out"
        )
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        str(path),
        "Choose another folder with --out",
    )


def _place(temporary: Path, path: Path, replace: bool) -> None:
    """Give a temporary file its name. Without `replace` another process that made a file of that
    name in the meantime wins."""
    try:
        if replace and os.path.lexists(path):
            os.replace(temporary, path)
        else:
            _place_new(temporary, path)
    except FileExistsError:
        raise OutputError(
            "a file of that name has come into being meanwhile",
            str(path),
            "Choose another name with --out",
        ) from None
    except OSError as error:
        raise output_error(error, path) from None
    GUARD.note(path)


def _place_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError):
        # A file system without hard links.
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(temporary, path)
    else:
        temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{_shortened(path.name)}.{os.getpid()}.part")


def _shortened(name: str) -> str:
    """A name that leaves room for another word, for file systems count 255 bytes; a hash tells
    long names apart."""
    data = os.fsencode(name)
    if len(data) <= 200:
        return name
    return f"{data[:160].decode(errors='ignore')}.{hashlib.sha256(data).hexdigest()[:12]}"


def _absolute(path: Path) -> Path:
    """The path with its folder's links resolved; its own name stays."""
    path = Path(os.path.abspath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = os.lstat(path)
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
