"""Deduplication: texts (exact, MinHash), images (perceptual hash, embedding) and samples of both (cross-modal).

Every pair that a hash or an embedding proposes is verified before it counts; see docs/dedup.md.
"""
