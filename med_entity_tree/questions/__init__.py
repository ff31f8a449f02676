"""Questions from paths of the knowledge graph: sampled, posed, given distractors, checked, balanced and split."""
