"""Reads other projects' checkpoints without running anything that is stored in them."""
