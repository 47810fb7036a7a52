"""What is copied into a model repository for servers without a native backend: `model.py`."""
