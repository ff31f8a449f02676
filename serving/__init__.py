"""Serving: the vLLM plugin, the engine launcher, and the gateway that people and programs talk to.

Importing this package imports nothing heavy; vLLM is imported only inside the engine's own processes.
"""
