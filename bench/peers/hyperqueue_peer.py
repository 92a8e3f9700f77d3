"""HyperQueue on this machine, through the library of its Python package, which has no `hq` program: programs only."""

import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from work import check_echoes


class Peer:
    version = f"HyperQueue {version('hyperqueue')}"

    def __init__(self, folder, cpus):
        self.folder = Path(folder)
        self.cluster = LocalCluster(str(self.folder / "server"), WorkerConfig(cores=cpus))
        self.client = self.cluster.client()
        self.rounds = 0

    def echo(self, count):
        self.rounds += 1
        outputs = self.folder / f"echo-{self.rounds}"
        outputs.mkdir()
        begin = time.perf_counter()
        job = Job()
        paths = [str(outputs / str(index)) for index in range(count)]
        for path in paths:
            job.program(["/bin/echo", "hello"], stdout=path, stderr=None)
        self.client.wait_for_jobs([self.client.submit(job)])
        texts = [Path(path).read_bytes() for path in paths]
        ms = (time.perf_counter() - begin) * 1000
        check_echoes(texts)
        shutil.rmtree(outputs)
        return {"ms": ms}

    def close(self):
        self.client = None
        # Its threads do not always end when they are asked to; the keeper ends whatever is left.
        self.cluster.stop()
        os._exit(0)
