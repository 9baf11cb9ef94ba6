"""How the weights in llmrouterd/data/classifier/ are made: `python -m training.train`."""
