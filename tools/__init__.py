"""Everything the model may call: image tools, evidence search, clinical calculators. Empty so far; see docs/log.md."""
