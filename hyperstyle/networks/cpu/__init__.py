"""The same mathematics as the generator and the hypernetwork, without gradients, faster on a CPU."""
