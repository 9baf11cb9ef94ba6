"""The speed benchmark: llmrouterd beside a bare proxy, nginx and other gateways, in one run."""
