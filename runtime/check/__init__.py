"""`ngcrun check`: what is wrong with AzureML YAML, found without an account, without azure and without a run."""
