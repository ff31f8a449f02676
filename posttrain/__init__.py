"""Preference tuning, reinforcement learning and distillation. Empty so far; see docs/log.md."""
