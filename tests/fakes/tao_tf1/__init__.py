"""A stand-in for the command lines of TAO's TF1 image; see cli.py."""
