"""Scoring of files: reading and writing audio, and looking at a pair before it is compared."""
