"""The commands: `run` (serve, check), `ask` (a running daemon), `offline` (files and pipes)."""
