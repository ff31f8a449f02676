"""The data engine: sources to shards, cleaned, deduplicated, tagged, checked and weighed, in stages that resume."""
