"""Triton steps: a model folder to a model repository, its verification on a real server, and a client. One file a verb."""
