"""What a sandbox sees of the machine: bubblewrap's arguments, and the copy of the few inside modules.

Shown, all read-only: the interpreter, the environment's packages, the system's libraries and
programs, and one folder `/lab` with the cut copy of steerlab and the modules that run inside. Masked
wherever they would show through: every other copy or trace of steerlab and autograder, the
repository they come from, and whatever else the settings name.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

LAB = "/lab"
INSIDE = {
    "sandbox": (
        *("colab.py", "confine.py", "kernel.py", "landlock.py", "monitor.py", "walls.py"),
        "zygote.py",
    ),
    "probe": ("agent.py", "wire.py"),
}
SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share")
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")  # links into /usr on most machines
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
READABLE_STATE = (
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/filesystems", "/proc/sys/vm"),
    *("/sys/devices/system", "/dev/urandom", "/dev/random", "/dev/zero"),
)
DEVICES = ("/dev/null", "/dev/full", "/dev/ptmx", "/dev/pts", "/dev/tty")
HIDDEN_PACKAGES = ("steerlab", "autograder")
PASSWD = "root:x:0:0::/:/bin/false\nstudent:x:1000:1000::/student/home:/bin/sh\n"
GROUP = "root:x:0:\nstudent:x:1000:\n"
HOSTS = "127.0.0.1 localhost\n"


def write_inside(folder: Path) -> None:
    """Write the modules that run inside to `folder`/lab/confined, and a small /etc."""
    package = folder / "lab" / "confined"
    here = Path(__file__).resolve().parent.parent
    for part, names in INSIDE.items():
        (package / part).mkdir(parents=True, exist_ok=True)
        (package / part / "__init__.py").write_text("")
        for name in names:
            shutil.copyfile(here / part / name, package / part / name)
    (package / "__init__.py").write_text("")
    etc = folder / "etc"
    etc.mkdir(exist_ok=True)
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS)):
        (etc / name).write_text(text)
    for path in (folder / "lab", etc):
        make_readable(path)


def make_readable(folder: Path) -> None:
    """Let the sandbox's own user read what was written, whatever umask the grader runs with."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def mounts(folder: Path, hidden: Iterable[Path]) -> list[str]:
    """Bubblewrap's mount arguments, outer folders before what lies in them."""
    shown = _shown_folders()
    placed: dict[str, list[str]] = {}
    for path in shown:
        placed[path] = ["--ro-bind", path, path]
    for link in MERGED:
        if os.path.islink(link):
            placed[link] = ["--symlink", os.readlink(link), link]
        elif os.path.isdir(link):
            placed[link] = ["--ro-bind", link, link]
    for name in ETC:
        if os.path.exists(f"/etc/{name}"):
            placed[f"/etc/{name}"] = ["--ro-bind", os.path.realpath(f"/etc/{name}"), f"/etc/{name}"]
    for name in ("passwd", "group", "hosts"):
        placed[f"/etc/{name}"] = ["--ro-bind", str(folder / "etc" / name), f"/etc/{name}"]
    for path in masked(shown, hidden):
        directory = os.path.isdir(path)
        placed[path] = ["--tmpfs", path] if directory else ["--ro-bind", "/dev/null", path]
    placed[LAB] = ["--ro-bind", str(folder / "lab"), LAB]
    ordered = sorted(placed, key=lambda path: (path.count("/"), path))
    arguments = [word for path in _parents(ordered) for word in ("--perms", "0755", "--dir", path)]
    arguments += [word for path in ordered for word in placed[path]]
    for path in ordered:
        if placed[path][0] == "--tmpfs":
            arguments += ["--remount-ro", path]
    return arguments


def landlocked(lab: Path, hidden: Iterable[Path]) -> dict[str, list[str]]:
    """The same view as a list of what Landlock shows: it knows no holes, so folders with something
    to mask in them are shown entry by entry.
    """
    shown = _shown_folders()
    holes = masked(shown, hidden)
    readable, listed = [str(lab)], []
    pending = [*shown, *(path for path in MERGED if os.path.isdir(path))]
    while pending:
        path = os.path.realpath(pending.pop())
        if path in holes:
            continue
        if any(_inside_any(hole, [path]) for hole in holes):
            listed.append(path)
            pending += [entry.path for entry in _entries(path) if not entry.is_symlink()]
        else:
            readable.append(path)
    readable += [f"/etc/{name}" for name in (*ETC, "passwd", "group", "hosts", "nsswitch.conf")]
    return {
        "readable": [*dict.fromkeys(readable), *READABLE_STATE],
        "listed": [*dict.fromkeys(listed)],
        "devices": list(DEVICES),
    }


def masked(shown: list[str], hidden: Iterable[Path]) -> list[str]:
    """What must not show through although it lies in a folder that is shown."""
    found = {os.path.realpath(path) for path in hidden}
    for name in HIDDEN_PACKAGES:
        found.update(_package_folders(name))
    for folder in shown:
        found.update(_traces(folder))
    # A folder that is shown stays shown, even inside one that is hidden (an environment that lies
    # in the repository): it is mounted later, because it lies deeper.
    return sorted(
        path
        for path in found
        if os.path.exists(path) and path not in shown and _inside_any(path, shown)
    )


def shows_something_in(folder: str) -> bool:
    """Whether some shown folder lies below `folder`, so that nothing may be mounted over it."""
    return any(_inside_any(path, [folder]) for path in _shown_folders())


def unreadable_to_others() -> list[str]:
    """Files of the environment that only their owner may read; root's sandbox is not root."""
    samples = [sys.executable, os.__file__]
    for name in ("torch", "transformers", "ipykernel"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            samples.append(spec.origin)
    return [path for path in samples if not os.stat(path).st_mode & 0o004]


def site_folders() -> list[str]:
    """Every folder of installed packages that this interpreter looks into."""
    named = [*site.getsitepackages(), *sys.path]
    wanted = {"site-packages", "dist-packages"}
    return sorted({os.path.realpath(p) for p in named if os.path.basename(p) in wanted})


def _shown_folders() -> list[str]:
    wanted = [path for path in SYSTEM if os.path.isdir(path)]
    wanted += [sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)]
    wanted += [path for path in site_folders() if os.path.isdir(path)]
    interpreter = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    kept: list[str] = []
    for path in sorted({*wanted, interpreter}, key=len):
        if path not in ("/", "/usr") and not _inside_any(path, kept):
            kept.append(path)
    return kept


def _package_folders(name: str) -> Iterator[str]:
    """The folder a package is imported from, and the source tree round it."""
    spec = importlib.util.find_spec(name)
    locations = list(spec.submodule_search_locations or []) if spec else []
    if name == "autograder":
        locations.append(os.fspath(Path(__file__).parent.parent))
    for location in locations:
        folder = Path(location).resolve()
        yield str(folder)
        if folder.parent.name not in ("site-packages", "dist-packages"):
            yield str(folder.parent)
        for parent in folder.parents:
            if (parent / "course.toml").is_file():
                yield str(parent)


def _traces(folder: str) -> Iterator[str]:
    """Installed copies, metadata, editable-install hooks and scripts of the hidden packages."""
    sites = {path for path in site_folders() if _inside_any(path, [folder])}
    for pattern in ("lib*/python*/site-packages", "lib*/python*/dist-packages"):
        sites.update(str(path) for path in Path(folder).glob(pattern))
    for place in {*sites, f"{folder}/bin"}:
        for entry in _entries(place) + _entries(f"{place}/__pycache__"):
            base = entry.name.lower().replace("__editable__", "").strip("_.")
            if base.startswith(HIDDEN_PACKAGES) or _mentions_hidden(entry):
                yield entry.path


def _mentions_hidden(entry: os.DirEntry[str]) -> bool:
    if not entry.name.endswith(".pth"):
        return False
    try:
        text = Path(entry.path).read_text(errors="replace")
    except OSError:
        return False
    return any(name in text for name in HIDDEN_PACKAGES)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _inside_any(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _parents(paths: list[str]) -> list[str]:
    """Folders above the mount points: made here, since bubblewrap would make them private."""
    above = {str(parent) for path in paths for parent in Path(path).parents} - {"/"}
    return sorted(above - set(paths), key=lambda path: (path.count("/"), path))
