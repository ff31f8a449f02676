"""Every test runs offline, on one thread, and leaves nothing outside its temporary folder."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hypothesis import settings

# Time decides nothing here: two cores under load miss any deadline.
settings.register_profile("medvlm", deadline=None)
settings.load_profile("medvlm")
