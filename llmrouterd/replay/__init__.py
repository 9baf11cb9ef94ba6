"""Recorded decisions, made again under another policy."""
