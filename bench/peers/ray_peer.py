"""Ray on this machine, with as many cpus as it has and without its dashboard."""

import os
import time

# Must be set before Ray is imported: it would report its use to its makers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

import work

copy = ray.remote(work.copy)
concat = ray.remote(work.concat)
echo = ray.remote(work.echo)


class Peer:
    version = f"Ray {ray.__version__}"

    def __init__(self, folder, cpus):
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=256 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )

    def graph(self, nodes):
        begin = time.perf_counter()
        made = []
        for node in nodes:
            task = copy if len(node) == 1 else concat
            made.append(task.remote(*work.arguments(node, made)))
        result = ray.get(made[-1])
        return {"ms": (time.perf_counter() - begin) * 1000, "result": result}

    def echo(self, count):
        begin = time.perf_counter()
        texts = ray.get([echo.remote() for _ in range(count)])
        ms = (time.perf_counter() - begin) * 1000
        work.check_echoes(texts)
        return {"ms": ms}

    def trips(self, count):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            ray.get(copy.remote("x"))
            times.append((time.perf_counter() - begin) * 1000)
        return {"times": times}

    def close(self):
        ray.shutdown()
