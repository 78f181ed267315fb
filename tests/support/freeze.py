"""Stops one thread of a program for ever, as a driver that hangs would: by ptrace, which parents may use on their children."""
import ctypes
import os
import pathlib
import threading
import time

SEIZE, INTERRUPT, CONT = 0x4206, 0x4207, 7
WALL = 0x40000000  # waits for threads, too
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def thread_ids(pid):
    """{name: [thread ids]} of a process."""
    out = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            out.setdefault((task / "comm").read_text().strip(), []).append(int(task.name))
        except OSError:
            pass  # it has just ended
    return out


def _state(tid):
    """R: it runs, or would if it had a CPU; S: it waits."""
    return pathlib.Path(f"/proc/{tid}/stat").read_text().rpartition(") ")[2][0]


def waits(pid, name, seconds=0.2):
    """Whether a thread does nothing but wait, all the time."""
    tid, = thread_ids(pid)[name]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _state(tid) != "S":
            return False
        time.sleep(0.005)
    return True


def _ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Frozen:
    """A thread that does nothing more. Made, and thawed, by one thread of the test."""

    def __init__(self, pid, name):
        self.tid, = thread_ids(pid)[name]
        _ptrace(SEIZE, self.tid)
        self.stop()

    def stop(self):
        _ptrace(INTERRUPT, self.tid)
        os.waitpid(self.tid, WALL)

    def until(self, stuck, seconds=60):
        """Lets it go on and stops it again until `stuck()`: at a place where others wait for it, or where it holds nothing that they need."""
        end = time.monotonic() + seconds
        while not stuck():
            assert time.monotonic() < end, "the thread could not be stopped at such a place"
            _ptrace(CONT, self.tid)
            time.sleep(0.001)
            while _state(self.tid) != "R" and time.monotonic() < end:
                pass  # it would be stopped where it waits for work
            self.stop()
        return self

    def bury(self):
        """Reaps it when it ends: its process can't go on before. Until then in the background."""
        self.undertaker = threading.Thread(target=os.waitpid, args=(self.tid, WALL), daemon=True)
        self.undertaker.start()
        return self


def refused(pid):
    """Why no thread of this child can be stopped; empty: one can."""
    try:
        _ptrace(SEIZE, pid)
    except OSError as e:
        return f"ptrace is not permitted here ({e}); there is no other way to stop one thread of a process"
    libc.ptrace(17, pid, None, None)  # detach, which fails unless it is stopped
    return ""
