"""StyleGAN2: generator with weight offsets, and discriminator. Imports no other folder of `networks`."""
