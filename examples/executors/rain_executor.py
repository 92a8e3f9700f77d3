#!/usr/bin/env python3
"""Own executors of Rain in Python 3.9+, with nothing but the standard library.

Run, this file is the executor of session.python(source, inputs, options):

    rain governor --executor py="python3 examples/executors/rain_executor.py"

Imported, it serves your own functions; each gets a Call:

    import rain_executor

    def count(call):
        return str(len(call.inputs[0].text().split()))

    rain_executor.serve({"count": count})

What is said over stdin and stdout stands in docs/executors.md.
"""

import ast
import json
import os
import queue
import signal
import sys
import textwrap
import threading
import traceback

PROTOCOL = 1
# Characters of an error's message that are sent; the whole of it goes to stderr.
MAX_MESSAGE = 16_000
# Compiled sources that are kept.
MAX_SOURCES = 64


class Cancelled(BaseException):
    """Raised in a method when its task is cancelled or its time is over."""


class Input:
    """A data object that a method reads."""

    def __init__(self, fields):
        self.label = fields["label"]
        self.path = fields["path"]
        self.kind = fields["kind"]  # "blob", or "directory": then path is a folder
        self.size = fields["size"]
        self.content_type = fields["contentType"]

    def bytes(self):
        with open(self.path, "rb") as file:
            return file.read()

    def text(self):
        return self.bytes().decode("utf-8")

    def json(self):
        return json.loads(self.bytes())


class Output:
    """A data object that a method makes: a file at `path`."""

    def __init__(self, fields):
        self.label = fields["label"]
        self.path = fields["path"]
        self.content_type = fields["contentType"]

    def write(self, value):
        """Bytes as they are, a string as UTF-8, every other value as JSON."""
        data, content_type = encode(value)
        with open(self.path, "wb") as file:
            file.write(data)
        self.content_type = self.content_type or content_type


class Call:
    """What one task asks."""

    def __init__(self, fields):
        self.id = fields["id"]
        self.method = fields["method"]
        self.config = fields["config"]
        self.inputs = [Input(each) for each in fields["inputs"]]
        self.outputs = [Output(each) for each in fields["outputs"]]
        self.folder = fields["folder"]
        self.task = fields["task"]
        self.attempt = fields["attempt"]
        self.cpus = fields["cpus"]
        self.gpus = fields["gpus"]
        self.memory = fields["memory"]


def encode(value):
    """The bytes of a value, and what content type they have."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), ""
    if isinstance(value, str):
        return value.encode("utf-8"), "text"
    return json.dumps(value, allow_nan=False).encode("utf-8"), "json"


def serve(methods):
    """Serves a governor until it closes stdin. `methods`: functions of a Call, by name.

    A method returns nothing when it wrote all outputs, the value of the only output, or those of several as a dict by
    label or as a list. What it raises fails the task, with the traceback in its stderr. Must be called in the main
    thread: methods run there, and cancelling one raises Cancelled in it.
    """
    _Server(methods).run()


class _Server:
    def __init__(self, methods):
        self._methods = methods
        self._calls = queue.Queue()
        self._lock = threading.Lock()
        # The call whose method runs, and the one that is to end.
        self._running = None
        self._cancelled = None
        # Messages keep the real stdin and stdout; methods, and programs that they start, get neither.
        self._stdin = os.fdopen(os.dup(0), "rb")
        self._stdout = os.fdopen(os.dup(1), "wb")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        sys.stdout.reconfigure(line_buffering=True)

    def run(self):
        signal.signal(signal.SIGUSR1, self._on_signal)
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            fields = self._calls.get()
            if fields is None:
                return
            self._say(self._answer(Call(fields)))

    def _read(self):
        try:
            for line in self._stdin:
                message = json.loads(line)
                kind = message.get("type")
                if kind == "hello":
                    self._say({"type": "ready", "protocol": PROTOCOL})
                elif kind == "call":
                    self._calls.put(message)
                elif kind == "cancel":
                    self._cancel(message["id"])
        finally:
            self._calls.put(None)

    def _say(self, message):
        with self._lock:
            self._stdout.write(json.dumps(message).encode("utf-8") + b"\n")
            self._stdout.flush()

    def _cancel(self, call_id):
        self._cancelled = call_id
        # Also wakes a method that sleeps or waits for the system.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def _on_signal(self, _number, _frame):
        if self._running is not None and self._running == self._cancelled:
            self._running = None
            raise Cancelled("the task was cancelled")

    def _answer(self, call):
        home = os.getcwd()
        try:
            os.chdir(call.folder)
            self._running = call.id
            if self._cancelled == call.id:  # it came before the method began
                raise Cancelled("the task was cancelled")
            self._perform(call)
            self._running = None
            types = [output.content_type for output in call.outputs]
            return {"type": "done", "id": call.id, "contentTypes": types}
        except BaseException as error:  # SystemExit too: a method does not end the executor
            self._running = None
            traceback.print_exc()
            last = "".join(traceback.format_exception_only(type(error), error)).strip()
            return {"type": "failed", "id": call.id, "message": last[:MAX_MESSAGE]}
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.chdir(home)

    def _perform(self, call):
        method = self._methods.get(call.method)
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise LookupError(f"there is no method {call.method!r}; known are {known}")
        write_result(call, method(call))


def write_result(call, result):
    """Writes what a method returned to the outputs of its call."""
    outputs = call.outputs
    if len(outputs) == 1:
        # None is a value too, unless the method wrote the output itself.
        if result is not None or not os.path.lexists(outputs[0].path):
            outputs[0].write(result)
        return
    if result is None:
        return
    labels = [output.label for output in outputs]
    if isinstance(result, dict):
        unknown = set(result) - set(labels)
        if unknown:
            raise ValueError(f"there are no outputs {sorted(map(str, unknown))}; the task has {labels}")
        for output in outputs:
            if output.label in result:
                output.write(result[output.label])
        return
    if not isinstance(result, (list, tuple)) or len(result) != len(outputs):
        raise ValueError(f"the task has {len(outputs)} outputs {labels}: return a dict by label, or a list of as many")
    for output, value in zip(outputs, result):
        output.write(value)


_READERS = {
    "bytes": Input.bytes,
    "text": Input.text,
    "json": Input.json,
    "path": lambda each: each.path,
}
_sources = {}


def run(call):
    """The method of session.python: config is {source, function?, as?, args?}."""
    config = call.config or {}
    function = load_function(config["source"], config.get("function"))
    read = _READERS[config.get("as") or "bytes"]
    return function(*[read(each) for each in call.inputs], **(config.get("args") or {}))


def load_function(source, name=None):
    """The function of this name, or the last one that the source defines. Each source is executed once."""
    key = (source, name)
    if key not in _sources:
        text = textwrap.dedent(source)
        tree = ast.parse(text, "<source>")
        if name is None:
            defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            if not defined:
                raise ValueError("the source defines no function (def NAME(...): ...)")
            name = defined[-1]
        # A traceback shows the lines of the source.
        file = f"<source {len(_sources)} of {name}>"
        remember_lines(file, text)
        names = {"__name__": "rain_source"}
        exec(compile(text, file, "exec"), names)  # running what the task brings is what this executor is for
        if not callable(names.get(name)):
            raise ValueError(f"the source defines no function {name!r}")
        if len(_sources) >= MAX_SOURCES:
            _sources.clear()
        _sources[key] = names[name]
    return _sources[key]


def remember_lines(file, text):
    import linecache

    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)


if __name__ == "__main__":
    serve({"run": run})
