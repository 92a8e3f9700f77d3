"""Dask distributed on this machine, as its LocalCluster starts by itself: a process of one thread for each cpu."""

import time

import distributed
from dask import delayed
from distributed import Client, LocalCluster

from work import arguments, check_echoes, concat, copy, echo


lazy_copy = delayed(copy, pure=False)
lazy_concat = delayed(concat, pure=False)


class Peer:
    version = f"Dask {distributed.__version__}"

    def __init__(self, folder, cpus):
        self.cluster = LocalCluster(
            n_workers=cpus,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=folder,
        )
        self.client = Client(self.cluster)
        self.client.wait_for_workers(cpus)

    def graph(self, nodes):
        # Built first and sent whole, which costs Dask less than a submit for each task.
        begin = time.perf_counter()
        made = []
        for node in nodes:
            work = lazy_copy if len(node) == 1 else lazy_concat
            made.append(work(*arguments(node, made)))
        result = self.client.compute(made[-1], optimize_graph=False).result()
        return {"ms": (time.perf_counter() - begin) * 1000, "result": result}

    def echo(self, count):
        begin = time.perf_counter()
        texts = self.client.gather([self.client.submit(echo, pure=False) for _ in range(count)])
        ms = (time.perf_counter() - begin) * 1000
        check_echoes(texts)
        return {"ms": ms}

    def trips(self, count):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            self.client.submit(copy, "x", pure=False).result()
            times.append((time.perf_counter() - begin) * 1000)
        return {"times": times}

    def close(self):
        self.client.close()
        self.cluster.close()
