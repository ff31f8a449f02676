"""The public door of medvlm: an OpenAI-compatible HTTP gateway in front of a private vLLM engine.

`create_app(settings)` in `app.py` builds it, `run_gateway(settings)` in `server.py` runs it. What enters is checked
by `schema.py`, images are decoded and drawn anew by `images.py`, and only what the gateway wrote itself reaches the
engine.
"""
