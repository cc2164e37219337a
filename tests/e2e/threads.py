"""Holds an agent's worker threads up, while its main thread goes on: as a kernel does that is busy with others' calls."""

import contextlib
import ctypes
import os

# linux/ptrace.h, linux/wait.h
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of thread {tid}")


# In the order in which agent/open.c makes them.
TABLE_WORKER, ADDRESS_WORKER = 0, 1


@contextlib.contextmanager
def _held(tids):
    with contextlib.ExitStack() as stack:
        for tid in tids:
            _ptrace(PTRACE_SEIZE, tid)
            stack.callback(_ptrace, PTRACE_DETACH, tid)
            _ptrace(PTRACE_INTERRUPT, tid)
            os.waitpid(tid, WALL)
        yield


def _workers(agent):
    pid = agent.process.pid
    return sorted(tid for tid in map(int, os.listdir(f"/proc/{pid}/task")) if tid != pid)


def workers_held(agent):
    """No thread of the agent but the main one runs in here.  Ends with this process at the latest."""
    return _held(_workers(agent))


def worker_held(agent, which):
    """One of its workers does not run in here."""
    return _held([_workers(agent)[which]])
