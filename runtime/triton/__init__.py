"""Triton steps: a model repository from a model folder, its verification, a client. One file a verb."""
