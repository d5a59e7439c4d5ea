"""Run a program that the kernel kills when the process that started it dies, whatever it dies of.

A test run may end by `kill -9`: no fixture, `atexit` or signal handler runs then, and an API server, etcd and two
controllers would be left behind. Linux's PR_SET_PDEATHSIG has no such gap, but must be asked for in the child itself.
Python's `preexec_fn` would be the place and is unsafe where there are threads, so this script is put in front: it asks,
then becomes the program by exec, which keeps the process id and costs no extra process. A supervising process with a
pipe would work as well, but would be one more process that can be killed, and the program's pid would not be ours.

Usage: python -I -S die_with_parent.py PARENT_PID UID:GID PROGRAM [ARGUMENT...], where `:` changes no user. The "parent"
is, to the kernel, the thread that started the child: see `process.py`. The user is changed first, because the kernel
forgets the wish when it changes afterwards.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, (uid, _, gid), program = int(sys.argv[1]), sys.argv[2].partition(":"), sys.argv[3:]
    if uid:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before we asked: nobody would ever send the signal
        sys.exit(f"the starting process {parent} has already gone")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
