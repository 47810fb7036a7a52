"""RAPIDS steps: raw trips to features, a trained model, predictions and their score. One file a verb."""
