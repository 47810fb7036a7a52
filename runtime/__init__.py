"""NVIDIA workloads on Azure Machine Learning: components with typed ports, run locally, in docker or as a job."""

__version__ = "0.1.0"
