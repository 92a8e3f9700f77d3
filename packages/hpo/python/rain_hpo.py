"""Inside a program that `rain submit` runs many times: which combination is mine, and how well does it do.

    import rain_hpo

    rain_hpo.init("/tmp/hpo")
    config = rain_hpo.pick(grid={"lr": [0.1, 0.01], "layers": [2, 4]}, strategy=rain_hpo.GridSearch)
    if config is None:
        raise SystemExit("all combinations are taken")
    rain_hpo.report(epoch=1, metrics={"accuracy": 0.9})

Python 3.9+, nothing but the standard library: copy this file into your project. The server gives each completion its
own number (RAIN_COMPLETION_INDEX), which stays when it is tried again; the combination follows from it. Outside of
Rain the folder of `init` hands them out. The TypeScript package @rain/hpo picks the same ones.
"""

import json
import math
import numbers
import os

GridSearch = "grid_search"
RandomSearch = "random_search"

# Most combinations of a grid that is searched at random: their order is kept in memory.
MAX_SHUFFLED = 10_000_000
_RESERVED = {"epoch", "step", "params"}


class _State:
    folder = None
    picked = 0  # combinations that this process has picked
    place = None
    config = None


def init(folder):
    """Names the folder that hands out combinations and takes results when the program runs outside of Rain."""
    _State.folder = os.fspath(folder)
    _State.picked = 0
    _State.place = None
    _State.config = None


def pick(grid, strategy=GridSearch, seed=0):
    """The next combination of this process, a dict: no other completion gets it. None when all are handed out.

    grid: a dict of lists. strategy: GridSearch (the first parameter slowest) or RandomSearch (all combinations in an
    order of chance, which another seed changes; all completions must use the same seed). A completion that picks again
    goes on with the combinations behind those of all completions. Raises TypeError or ValueError for a wrong grid.
    """
    _check_grid(grid)
    order = _next_order(grid)
    place = None if order is None else _place_of(grid, strategy, order, "%s:%s" % (os.environ.get("RAIN_RUN", ""), seed))
    if place is None:
        return None
    _State.picked += 1
    _State.place = place
    _State.config = _combination_at(grid, place)
    file = os.environ.get("RAIN_METRICS")
    if file is not None:
        _append(file, {"params": _State.config})
    return dict(_State.config)


def report(epoch=None, metrics=None):
    """Tells how well the combination does: a point of each metric's curve. Raises TypeError for what is no number."""
    line = {}
    if epoch is not None:
        line["epoch"] = _number("epoch", epoch)
    for name, value in (metrics or {}).items():
        if name in _RESERVED:
            raise TypeError("report: a metric cannot be named %s" % name)
        line[name] = _number(name, value)
    file = os.environ.get("RAIN_METRICS")
    if file is not None:
        _append(file, line)
    elif _State.folder is not None:
        result = {"combination": _State.place, "params": _State.config}
        os.makedirs(_State.folder, exist_ok=True)
        _append(os.path.join(_State.folder, "results.jsonl"), dict(result, **line))


def _check_grid(grid):
    if not isinstance(grid, dict):
        raise TypeError('pick: grid must be a dict of lists, such as {"lr": [0.1, 0.01], "layers": [2, 4]}')
    for name, values in grid.items():
        if not isinstance(name, str):
            raise TypeError("pick: grid: the names must be strings, not %r" % (name,))
        if not isinstance(values, (list, tuple)):
            raise TypeError("pick: grid: %s must be a list of values" % name)
        if len(values) == 0:
            raise ValueError("pick: grid: %s has no values" % name)


def _count_of(grid):
    return math.prod(len(values) for values in grid.values())


def _combination_at(grid, number):
    """Combination `number`, counted with the first parameter slowest."""
    picked = []
    for name, values in reversed(grid.items()):
        number, place = divmod(number, len(values))
        picked.append((name, values[place]))
    return dict(reversed(picked))


def _place_of(grid, strategy, order, seed):
    count = _count_of(grid)
    if order >= count:
        return None
    if strategy == GridSearch:
        return order
    if strategy == RandomSearch:
        return _shuffled(count, seed)[order]
    raise TypeError("pick: there is no strategy %r; use GridSearch or RandomSearch" % (strategy,))


def _shuffled(count, seed):
    """The numbers below `count` in an order that the seed decides: Fisher and Yates with xorshift32."""
    if count > MAX_SHUFFLED:
        raise ValueError(
            "pick: the grid has %d combinations; RandomSearch takes at most %d: give fewer values"
            % (count, MAX_SHUFFLED)
        )
    order = list(range(count))
    state = _hash(seed) or 1
    for last in range(count - 1, 0, -1):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        other = state % (last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def _hash(text):
    """FNV-1a of the text's UTF-8."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def _next_order(grid):
    index = _whole("RAIN_COMPLETION_INDEX")
    if index is not None:
        completions = _whole("RAIN_COMPLETIONS")
        return index + _State.picked * (1 if completions is None else completions)
    if _State.folder is not None:
        return _claim(_State.folder, grid)
    raise RuntimeError(
        "pick: this program was not started by rain submit; call init(FOLDER) first, which hands combinations out then"
    )


def _whole(name):
    text = os.environ.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise RuntimeError("pick: %s must be a whole number, not %r" % (name, text))
    return int(text)


def _claim(folder, grid):
    """Whoever makes the file of a number first has it."""
    claims = os.path.join(folder, "claims")
    os.makedirs(claims, exist_ok=True)
    file = os.path.join(folder, "grid.json")
    text = json.dumps(grid, separators=(",", ":"), ensure_ascii=False)
    if not _make(file, text):
        with open(file, encoding="utf-8") as known:
            if known.read() != text:
                raise RuntimeError(
                    "pick: %s was used with another grid (%s); use another folder, or remove it" % (folder, file)
                )
    for number in range(_count_of(grid)):
        if _make(os.path.join(claims, "%06d" % number), "%d\n" % os.getpid()):
            return number
    return None


def _make(path, text):
    """Makes a file, whole at once, if there is none; answers whether it was this call that made it."""
    draft = "%s.%d" % (path, os.getpid())
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)


def _append(path, value):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(value, default=_plain) + "\n")


def _plain(value):
    """What a grid may hold that JSON has no word for: numbers of numpy, paths."""
    return value.item() if hasattr(value, "item") else str(value)


def _number(name, value):
    """JSON has no word for NaN and the infinities: they travel as text."""
    if hasattr(value, "item"):
        value = value.item()  # of numpy or torch
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError("report: %s must be a number, not %r" % (name, value))
    if isinstance(value, int):
        return value
    value = float(value)
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
