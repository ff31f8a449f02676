"""Training: one loop on accelerate, one small objective class a stage, one YAML recipe a run.

Importing this package loads nothing heavy; the loop is :func:`pretrain.training.loop.train`.
"""
