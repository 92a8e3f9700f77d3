"""Runs a training with the combination that this completion picks, and reports each of its epochs.

    python3 hpo.py python3 digits/train.py --data digits/digits.csv.gz
"""

import subprocess
import sys

import rain_hpo

words = sys.argv[1:]
if not words:
    print("usage: python3 hpo.py PROGRAM [ARGS...]", file=sys.stderr)
    raise SystemExit(2)
# Only outside of Rain: the folder that hands combinations out.
rain_hpo.init(".hpo")
config = rain_hpo.pick(grid={"size": [16, 32, 64], "dropout": [0, 0.2]}, strategy=rain_hpo.RandomSearch)
if config is None:
    raise SystemExit("all combinations are taken")

for name, value in config.items():
    words += ["--" + name, str(value)]
training = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
# epoch=3 loss=0.4891 accuracy=0.9499
for line in training.stderr:
    print(line, end="", file=sys.stderr)
    values = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
    if "epoch" in values:
        metrics = {"loss": float(values["loss"]), "accuracy": float(values["accuracy"])}
        rain_hpo.report(epoch=int(values["epoch"]), metrics=metrics)
raise SystemExit(training.wait())
