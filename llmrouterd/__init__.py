"""llmrouterd: one OpenAI-compatible model name in front of every model a box really has."""

__version__ = "0.1.0"
