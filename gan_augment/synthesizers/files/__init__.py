"""Synthesizers out of files: which kind a file is, what is made of it, and folders of the own form."""
