"""Configuration, model, processor, messages and medical images: what every other package stands on.

Importing this package loads nothing heavy. ``import vlm.auto`` registers the model with transformers' Auto classes.
"""
