"""The local engine: an AzureML pipeline YAML, checked as a whole and run on this machine without an account."""
