"""What a tile looks like, in numbers: encoders, the dense pass and the archive of descriptors."""
