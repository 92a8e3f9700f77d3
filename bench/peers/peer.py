"""Runs one peer of a benchmark: peer.py NAME FOLDER.

Requests come as lines of JSON on stdin, answers go as lines of JSON to descriptor 3. This process is the keeper: it
starts the peer's driver and, when the driver has ended or descriptor 4 is closed (who started us is gone), ends
whatever process is left of it, also those that made sessions of their own, and removes the folder.
"""

import ctypes
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time

ANSWERS = 3
LIFELINE = 4
PR_SET_CHILD_SUBREAPER = 36


def children_of():
    """Pids of living processes by the pid of their parent."""
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(name))
    return children


def descendants():
    children = children_of()
    found = []
    left = [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def reap():
    """Collects what has ended; gives the statuses by pid."""
    ended = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def end_all():
    for _ in range(500):
        left = descendants()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        reap()
        time.sleep(0.02)
    raise SystemExit(f"peer.py: processes that do not end: {left}")


def keep():
    # Orphans of the driver become children of this process, so none can be missed.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    driver = os.fork()
    if driver == 0:
        os.close(LIFELINE)
        drive(sys.argv[1], sys.argv[2])
        return
    os.close(ANSWERS)
    status = None
    while status is None:
        gone, _, _ = select.select([LIFELINE], [], [], 0.05)
        status = reap().get(driver)
        if gone:
            break
    end_all()
    shutil.rmtree(sys.argv[2])
    if status is not None:
        sys.exit(os.waitstatus_to_exitcode(status) & 255)


def drive(name, folder):
    answers = os.fdopen(ANSWERS, "w")
    os.set_inheritable(ANSWERS, False)
    os.chdir(folder)

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    peer = importlib.import_module(f"{name}_peer").Peer(folder, os.cpu_count())
    say({"ready": peer.version})
    for line in sys.stdin:
        request = json.loads(line)
        say(getattr(peer, request.pop("do"))(**request))
    peer.close()


if __name__ == "__main__":
    keep()
