"""Pages, whose code the tests run, and examples."""
