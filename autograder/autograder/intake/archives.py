"""Files from strangers: a zip file or a folder read within bounds, under names that lead nowhere else.

Nothing is unpacked by the names that an archive gives; whoever lays a file out chooses its place. A
member that cannot be read is a problem of its own and stops no other.
"""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MAX_FILE_BYTES = 20_000_000
MAX_FILES = 50_000
#: A download is a whole class; a submission is one person's.
MAX_DOWNLOAD_BYTES, MAX_SUBMISSION_BYTES = 8_000_000_000, 100_000_000
#: Deflate reaches about 1030; text with outputs stays far below this.
MAX_RATIO = 300
RATIO_COUNTS_FROM = 1_000_000

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # covers NotImplementedError, of compression methods that Python lacks
)


class Unreadable(Exception):
    """A file that is not read; the message is a clause that says why."""


@dataclass(frozen=True)
class Entry:
    """One file: where it lies in the archive or folder, and how to get its bytes.

    read: raises Unreadable.
    """

    path: PurePosixPath
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name


@dataclass
class Contents:
    """What an archive or folder holds: the files that may be read, and names with what is wrong."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Budget:
    """Bytes that may still be read in all."""

    left: int

    def spend(self, size: int) -> None:
        """Take `size` bytes off; raises Unreadable where they are not left."""
        if size > self.left:
            raise Unreadable("all files together are larger than what is read")
        self.left -= size


@contextmanager
def opened(path: Path, total: int = MAX_DOWNLOAD_BYTES) -> Iterator[Contents]:
    """The contents of a zip file or a folder; raises Unreadable where it is neither."""
    if path.is_dir():
        yield folder_contents(path, total)
        return
    if not path.is_file():
        raise Unreadable("there is no such file or folder")
    with path.open("rb") as file, opened_zip(file, total) as contents:
        yield contents


@contextmanager
def opened_zip(file: BinaryIO, total: int = MAX_SUBMISSION_BYTES) -> Iterator[Contents]:
    """The contents of an open zip file; raises Unreadable."""
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED as error:
        raise Unreadable("it is no zip file, or a damaged one") from error
    with archive:
        yield _zip_contents(archive, Budget(total))


def _zip_contents(archive: zipfile.ZipFile, budget: Budget) -> Contents:
    contents = Contents()
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise Unreadable(f"it holds {len(infos)} files, more than the {MAX_FILES} that are read")
    for info in infos:
        name = _decoded(info)
        if name.endswith("/"):
            continue
        try:
            path = safe_path(name)
            _check(info)
        except Unreadable as problem:
            contents.problems.append((name, str(problem)))
            continue
        contents.entries.append(Entry(path, partial(_read_member, archive, info, budget)))
    return contents


def _decoded(info: zipfile.ZipInfo) -> str:
    """A member's name: many programs write UTF-8 without saying so, which Python reads as cp437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def safe_path(name: str) -> PurePosixPath:
    """A name inside an archive as a relative path; raises Unreadable where it leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]
    if outside or not path.parts or any(ord(letter) < 32 for letter in name):
        raise Unreadable("its name leads out of the archive")
    return path


def _check(info: zipfile.ZipInfo) -> None:
    """Raise Unreadable for what is refused before a byte of it is unpacked."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise Unreadable("it is a symbolic link")
    if kind not in (0, stat.S_IFREG):
        raise Unreadable("it is not an ordinary file")
    if info.flag_bits & 1:
        raise Unreadable("it is encrypted")
    if info.file_size > MAX_FILE_BYTES:
        raise Unreadable(too_large(info.file_size))
    if info.file_size > max(RATIO_COUNTS_FROM, MAX_RATIO * info.compress_size):
        raise Unreadable("it unpacks to hundreds of times its size (a zip bomb)")


def too_large(size: int) -> str:
    """Why a file of `size` bytes is not read."""
    return f"it is {size / 1e6:.0f} MB, more than the {MAX_FILE_BYTES // 10**6} MB that are read"


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> bytes:
    budget.spend(info.file_size)
    try:
        with archive.open(info) as member:
            content = member.read(MAX_FILE_BYTES + 1)
    except DAMAGED as error:
        raise Unreadable("it is damaged") from error
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(too_large(len(content)))
    return content


def folder_contents(root: Path, total: int = MAX_SUBMISSION_BYTES) -> Contents:
    """The contents of a folder and the folders in it; symbolic links are problems, not followed."""
    contents, budget = Contents(), Budget(total)
    for place, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(place) / name
            inside = PurePosixPath(*path.relative_to(root).parts)
            if path.is_symlink():
                contents.problems.append((str(inside), "it is a symbolic link"))
            elif name in files:
                contents.entries.append(Entry(inside, partial(_read_file, path, budget)))
            if len(contents.entries) > MAX_FILES:
                raise Unreadable(f"it holds more than {MAX_FILES} files")
    return contents


def _read_file(path: Path, budget: Budget) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable("it cannot be opened") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not an ordinary file")
        if status.st_size > MAX_FILE_BYTES:
            raise Unreadable(too_large(status.st_size))
        budget.spend(status.st_size)
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(too_large(len(content)))
    return content
