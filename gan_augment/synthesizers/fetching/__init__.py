"""Getting weights onto this machine, and what is known of where they come from."""
