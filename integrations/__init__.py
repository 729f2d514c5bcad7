"""Adapters to other libraries, imported as `gan_augment.integrations.NAME`; none is imported by the core."""
