"""Backends: one Protocol (`base`), a table of implementations (`pool`), a module for each type."""
