"""Captions and questions from what a study says and what the tree knows, each checked before it is believed."""
