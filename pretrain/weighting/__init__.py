"""Entity-driven sampling of a data set: from the entities of its index to a weights file that a recipe names."""
