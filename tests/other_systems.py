"""Rules of Windows and the Mac, imposed on a process that runs on Linux.

What those systems have not is taken away, what they refuse is refused. It is no Windows: libraries
keep what they hold of Linux (libraries in C see no rule), and drives, long paths and permissions
are as here. Each rule counts for paths below one folder, so that Python itself still starts.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import resource
import shutil
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import filelock
import psutil

ROOT = "TRIPTYCH_OTHER_SYSTEM_ROOT"  # the variable that names the folder whose paths obey
SYSTEM = "TRIPTYCH_OTHER_SYSTEM"  # the one that names the system, as sys.platform does
FORBIDDEN = set('<>:"|?*\\') | set(map(chr, range(32)))
DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
ACCESS_DENIED, SHARING_VIOLATION, INVALID_NAME, ALREADY_EXISTS, MAPPED = 5, 32, 123, 183, 1224
BETWEEN = {"pathlib", "io", "codecs", "shutil", "tempfile", __name__}  # whose caller counts


@dataclass(frozen=True)
class System:
    """A system by what it lacks.

    modules: that cannot be imported
    names:   that modules do not have
    """

    modules: frozenset[str]
    names: dict[str, frozenset[str]]


FLAGS = frozenset(name for name in vars(mmap) if name.startswith(("MAP_", "PROT_", "MADV_")))
SYSTEMS = {
    "darwin": System(
        frozenset(),
        {
            "os": frozenset({"sched_getaffinity", "posix_fadvise", "posix_fallocate"}),
            "mmap": frozenset({"MAP_POPULATE", "MAP_NORESERVE", "MADV_DONTDUMP"}),
        },
    ),
    "win32": System(
        frozenset({"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix"}),
        {
            "os": frozenset(
                {"fork", "forkpty", "getloadavg", "sched_getaffinity", "sysconf", "killpg"}
                | {"setsid", "getuid", "geteuid", "mkfifo", "uname", "statvfs", "fchmod"}
                | {"O_DIRECTORY", "O_NONBLOCK", "O_NOFOLLOW", "posix_fadvise", "EX_OK"}
            ),
            "signal": frozenset(
                {"SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD"}
                | {"SIGPIPE", "alarm", "setitimer", "pthread_sigmask", "sigwait"}
            ),
            "socket": frozenset({"AF_UNIX", "SO_REUSEPORT"}),
            "mmap": FLAGS,
        },
    ),
}  # fmt: skip


class View(ModuleType):
    """A module as the package sees it: all that it has, but for what is not on the system."""

    def __init__(self, real: ModuleType, absent: Collection[str], system: str) -> None:
        super().__init__(real.__name__)
        vars(self)["_real"], vars(self)["_absent"] = real, absent
        if real is sys:
            vars(self)["platform"] = system

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["_absent"]:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return getattr(vars(self)["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_real"], name, value)


def impose() -> None:
    """Take away and refuse, from now on, in this process and in those that it starts."""
    import multiprocessing

    multiprocessing.set_start_method("spawn", force=True)
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module="triptych")
    name = os.environ[SYSTEM]
    hide(name)
    hide_libc()
    if name == "win32":
        os.supports_fd.discard(os.scandir)
        shutil._use_fd_functions = False  # type: ignore[attr-defined]
        let_windows_count_memory()
        let_locks_vanish()
        guard_names()
    else:
        del psutil.Process.cpu_affinity
    sys.addaudithook(watch)


def hide(name: str) -> None:
    """The package sees modules of its system; the libraries below it those that there are."""
    plain, system = builtins.__import__, SYSTEMS[name]
    views = {
        each: View(importlib.import_module(each), names, name)
        for each, names in system.names.items()
    }
    views["sys"] = View(sys, (), name)

    def of_system(
        module: str, globals: Mapping[str, Any] | None = None, *rest: Any, **more: Any
    ) -> Any:
        if ((globals or {}).get("__name__") or "").split(".")[0] != "triptych":
            return plain(module, globals, *rest, **more)
        if module in system.modules:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return views.get(module) or plain(module, globals, *rest, **more)

    builtins.__import__ = of_system


def hide_libc() -> None:
    """There is no glibc."""
    plain = ctypes.CDLL

    class CDLL(plain):  # type: ignore[misc, valid-type]
        def __init__(self, name: Any, *rest: Any, **more: Any) -> None:
            if str(name).startswith("libc.so"):
                raise OSError(f"{name}: cannot open shared object file")
            super().__init__(name, *rest, **more)

    ctypes.CDLL = CDLL  # type: ignore[misc]


def let_windows_count_memory() -> None:
    """psutil gives the peak of a process as it does on Windows; it never falls."""
    plain = psutil.Process.memory_info

    def memory_info(process: psutil.Process) -> SimpleNamespace:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return SimpleNamespace(rss=plain(process).rss, peak_wset=most)

    psutil.Process.memory_info = memory_info


def let_locks_vanish() -> None:
    """filelock, which has code of its own for Windows, removes the file of a lock on release."""
    plain = filelock.FileLock._release

    def release(lock: Any) -> None:
        plain(lock)
        Path(lock.lock_file).unlink(missing_ok=True)

    filelock.FileLock._release = release  # type: ignore[method-assign]


def guard_names() -> None:
    """Functions of `os` that do something else on Windows."""
    rename, replace, fsync, kill = os.rename, os.replace, os.fsync, os.kill

    def windows_rename(source: Any, target: Any, **more: Any) -> None:
        if obeys(target) and os.path.lexists(target):
            raise refusal(FileExistsError, errno.EEXIST, ALREADY_EXISTS, target)
        rename(source, target, **more)

    def windows_replace(source: Any, target: Any, **more: Any) -> None:
        if obeys(target) and os.path.isdir(target):  # noqa: PTH112
            raise refusal(PermissionError, errno.EACCES, ACCESS_DENIED, target)
        replace(source, target, **more)

    def windows_fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fsync(descriptor)

    def windows_kill(process: int, number: int) -> None:
        assert number, "signal 0 ends a process on Windows"
        kill(process, number)

    def no_links(*given: Any, **more: Any) -> NoReturn:
        raise OSError(errno.EPERM, "a required privilege is not held by the client")

    os.rename, os.replace, os.fsync, os.kill = (
        windows_rename, windows_replace, windows_fsync, windows_kill,
    )  # fmt: skip
    os.symlink = os.link = no_links


def obeys(path: Any) -> bool:
    """Whether a path lies below the folder in which the rules count."""
    if isinstance(path, int) or not isinstance(path, str | bytes | os.PathLike):
        return False
    return os.path.abspath(os.fsdecode(path)).startswith(os.environ[ROOT] + os.sep)  # noqa: PTH100


def refusal(kind: type[OSError], number: int, winerror: int, path: Any) -> OSError:
    """An error as Windows' Python raises it."""
    error = kind(number, os.strerror(number), os.fsdecode(path))
    error.winerror = winerror  # type: ignore[attr-defined]
    return error


def watch(event: str, arguments: Sequence[Any]) -> None:
    """Python's audit hook: what it raises is raised by the call."""
    check = CHECKS[os.environ[SYSTEM]].get(event)
    if check is None or not any(map(concerns, arguments[:2])) or watch_is_asking():
        return
    if not asker().startswith("filelock"):
        check(*arguments)


def concerns(path: Any) -> bool:
    """Whether this is a path for which there are rules."""
    return obeys(path) or is_linux_own(path)


def is_linux_own(path: Any) -> bool:
    """Whether this is a file in which Linux tells of itself."""
    return isinstance(path, str) and path.startswith(("/proc/", "/sys/"))


def watch_is_asking() -> bool:
    """Whether a check itself reads a file."""
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        depth += frame.f_code is watch.__code__
        frame = frame.f_back
    return depth > 1


def check_system_files(path: Any, *rest: Any) -> None:
    """The files in which Linux tells of itself are not there."""
    if is_linux_own(path) and asker().startswith("triptych"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def check_open(path: Any, mode: Any, flags: int) -> None:
    """No folder, no odd name, and what is mapped is not cut."""
    check_system_files(path)
    if not obeys(path):
        return
    if os.path.isdir(path):  # noqa: PTH112
        raise refusal(PermissionError, errno.EACCES, ACCESS_DENIED, path)
    if flags & os.O_CREAT:
        check_name(path)
    if flags & os.O_TRUNC and real(path) in mapped_files():
        raise refusal(OSError, errno.EINVAL, MAPPED, path)


def asker() -> str:
    """The module that asked for what is watched."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in BETWEEN:
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__"))


def check_name(path: Any, *rest: Any) -> None:
    """A name that Windows takes, and that no other is equal to but for capital letters."""
    if not obeys(path):
        return
    folder, name = os.path.split(os.fsdecode(path))
    if FORBIDDEN & set(name) or name.endswith((".", " ")) or name.split(".")[0].lower() in DEVICES:
        raise refusal(OSError, errno.EINVAL, INVALID_NAME, path)
    alike = {n for n in os.listdir(folder or ".") if n.lower() == name.lower()}  # noqa: PTH208
    if alike - {name}:
        raise refusal(FileExistsError, errno.EEXIST, ALREADY_EXISTS, path)


def check_free(path: Any, *rest: Any) -> None:
    """Nothing that this process has open or mapped, nor a folder of such, may go."""
    if not obeys(path):
        return
    own = real(path)
    if any(used == own or used.startswith(own + os.sep) for used in open_files()):
        raise refusal(PermissionError, errno.EACCES, SHARING_VIOLATION, path)


def check_rename(source: Any, target: Any, *rest: Any) -> None:
    """Neither of both is in use, and the new name is one."""
    check_free(source)
    check_free(target)
    check_name(target)


def real(path: Any) -> str:
    """The path by which the system knows a file."""
    return os.path.realpath(os.fsdecode(path))


def open_files() -> set[str]:
    """The files that this process has open or mapped."""
    used = mapped_files()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            used.add(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
        except OSError:  # the one by which the folder was listed
            continue
    return used


def mapped_files() -> set[str]:
    """The files that this process has mapped into its memory."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if " /" in line}


CHECKS: dict[str, dict[str, Callable[..., None]]] = {
    "darwin": {"open": check_system_files},
    "win32": {
        "open": check_open,
        "os.mkdir": check_name,
        "os.rename": check_rename,
        "os.remove": check_free,
        "os.rmdir": check_free,
    },
}
