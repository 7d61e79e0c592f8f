"""The networks: generator, encoders, hypernetwork and what they are built from."""
