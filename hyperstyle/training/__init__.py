"""Training encoders and hypernetworks: `engine.make_task` and `engine.train`; one task per kind of network."""
