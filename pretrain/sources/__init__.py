"""Where training data comes from; each source writes one folder that `medvlm data import` reads."""
