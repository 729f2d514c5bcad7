"""`python -m gan_augment`."""

from gan_augment.cli import main

if __name__ == "__main__":
    main()
