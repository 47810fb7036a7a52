"""Start one program so that it dies with its parent and cannot write to its inputs. Standard library only.

Run as a script, not imported: `python -I -S launch.py PARENT_PID [PATH...] -- ARGV...`. A process of its own, because
code between fork and exec in a program with threads (MLflow starts some) may deadlock.

Each PATH becomes a read-only bind mount in a mount namespace of the program's own, as AzureML's `ro_mount` is; without
root this takes a user namespace in which the caller keeps his uid. Where the kernel forbids it, as in most containers,
the program starts without. `--probe` in place of a PID says by the exit status whether this machine allows it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24  # Source: linux/prctl.h
CAP_SYS_ADMIN = 21  # Source: linux/capability.h
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # Source: linux/sched.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18  # Source: linux/mount.h
# A remount must repeat the flags that are already there, or the kernel refuses it in a user namespace.
KEPT = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}  # statvfs flag: mount flag (nosuid .. relatime)
NOT_FOUND, NOT_STARTED = 127, 126  # as the shell has them


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def make_read_only(libc: ctypes.CDLL, paths: "list[str]") -> None:
    """Enter a mount namespace in which `paths` cannot be written; raises OSError where the kernel does not allow it."""
    uid, gid = os.getuid(), os.getgid()
    # Root needs no user namespace, but where it has lost the right to mount: a step of ours that starts a program.
    if uid or libc.unshare(CLONE_NEWNS) != 0:
        _checked(libc.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
        for file_name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{file_name}", "w") as file:  # noqa: PTH123 - pathlib costs 5 ms of every step's start
                file.write(line)
    _checked(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    for path in paths:
        name = os.fsencode(path)
        flags = sum(mount for stat, mount in KEPT.items() if os.statvfs(path).f_flag & stat)
        _checked(libc.mount(name, name, None, MS_BIND | MS_REC, None), path)
        _checked(libc.mount(None, name, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, None), path)
    if uid == 0:  # root could mount them anew; anyone else loses what his namespace gave him with the next exec
        _checked(libc.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0), "prctl")


def is_allowed(libc: ctypes.CDLL, paths: "list[str]") -> bool:
    """Whether `make_read_only` would succeed: tried in a child, since half of it could not be undone."""
    child = os.fork()
    if child == 0:
        try:
            make_read_only(libc, paths)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main(words: "list[str]") -> int:
    """Does not return when all is well: the program takes this process's place."""
    libc = ctypes.CDLL(None, use_errno=True)
    if words == ["--probe"]:
        return 0 if is_allowed(libc, ["/"]) else 1
    split = words.index("--")
    parent, paths, argv = int(words[0]), words[1:split], words[split + 1 :]
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took effect
        return NOT_STARTED
    if paths and is_allowed(libc, paths):
        make_read_only(libc, paths)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - an argv, no shell
    except OSError as error:
        print(f"{argv[0]}: cannot be started: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
