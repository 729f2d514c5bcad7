"""Verbs of the command line that need what stands above the pool: its pictures."""
