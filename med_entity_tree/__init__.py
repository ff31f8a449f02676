"""Build, tag, cover and link medical entities: the Medical Entity Tree."""
