"""Azure Machine Learning: publish, submit, deploy. The only folder that imports azure.*, and only inside functions."""
