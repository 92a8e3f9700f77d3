"""What the tasks of Python peers do: the same as Rain's built-in tasks, with text in place of objects."""

import subprocess

DIGITS = "0123456789"


def copy(text):
    return text


def concat(*texts):
    return "".join(texts)


def echo():
    return subprocess.run(["/bin/echo", "hello"], stdout=subprocess.PIPE, check=True).stdout


def arguments(node, made):
    """A node is the list of its inputs: tasks by their numbers, and -1 to -10 for the digits 0 to 9."""
    return [made[source] if source >= 0 else DIGITS[-1 - source] for source in node]


def check_echoes(texts):
    if any(text != b"hello\n" for text in texts):
        raise ValueError("an output is not what /bin/echo wrote")
