"""Decontamination: which training samples hold items of a benchmark, and a training run that refuses to start on them.

>>> from pretrain.decontamination.benchmarks import read_benchmark
>>> from pretrain.decontamination.manifest import build_manifest
>>> manifest = build_manifest("held-out", read_benchmark(Path("runs/sim")))  # hashes only, no text
>>> from pretrain.decontamination.match import Matcher
>>> from pretrain.decontamination.scan import scan
>>> verdict = scan(Matcher([manifest]), [ShardSet.open("runs/shards/train")])

See docs/decontamination.md for the rules.
"""
