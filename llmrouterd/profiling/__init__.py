"""Profiles from this box: what the models take in time and memory, and what they can do."""
