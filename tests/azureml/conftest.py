"""The fixtures of the AzureML tests."""

from tests.azureml.support import checkout

__all__ = ["checkout"]
