"""Benchmarks of llmrouterd; see bench/README.md. Not part of the installed package."""
