"""Data sources, shards and pretraining."""
