"""Build, tag, cover and link medical entities. Empty so far; see docs/log.md."""
