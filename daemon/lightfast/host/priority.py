"""How heavy work makes way for everybody else; where a system has none of it, it goes on as it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

NICE = 10
"""How far heavy work steps back: pictures and sounds take whole processors, and the loop must get one at once."""
FIRST_TO_GO = "500"
"""Where memory runs out, a process with this score is ended before a daemon, or an application, of the same size."""
CREATION_FLAGS: int = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
"""For a new process, where the system (Windows) takes its priority then."""


def thread_steps_back() -> None:
    """Let this thread wait where others want the processor: on Linux each thread has a priority of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it, and then it is as fast as the others
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def process_steps_back(pid: int) -> None:
    """Let a process wait where others want the processor, with all threads that its first one starts from now on."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + NICE)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # Linux shares the processors out by session first, however nice a process is: sched(7), autogroup.
            if os.getsid(pid) == pid:
                Path(f"/proc/{pid}/autogroup").write_text(str(NICE), encoding="ascii")
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
