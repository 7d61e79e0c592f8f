"""How code runs: several threads, modes without gradients, devices."""
