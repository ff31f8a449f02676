"""Readers of ontology files: each yields :class:`med_entity_tree.concept.Concept`, one at a time.

``read_obo`` and ``read_owl`` (OBO foundry), ``read_umls`` (RRF), ``read_snomed`` (RF2 snapshot), ``read_mesh``
(descriptor XML), ``read_loinc`` (CSV) and ``read_rxnorm`` (RRF). Every file may be gzipped. ``dropped`` counts by
reason what was left out. Parents and relations are given as the source has them, so a target may be a concept that was
left out or that another file holds. OBO and OWL files may state one id twice; whoever merges has to expect that.
"""
