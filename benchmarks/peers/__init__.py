"""The same DCGAN trained by this library, by a bare loop, by torchgan 0.1.0 and by vegans 0.4.0."""
