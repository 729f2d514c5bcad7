"""Examples on real data; each is a script that runs by itself."""
