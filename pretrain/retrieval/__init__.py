"""Node-guided retrieval: for each entity that the data hardly hold, what a pool has to offer, with the evidence."""
