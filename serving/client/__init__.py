"""A client for model servers with TensorFlow Serving's interface: `from serving.client import Client`."""

from serving.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unreachable,
)
from serving.client.model_client import Client
from serving.client.predictions import Failure, ImagesFailed, Prediction

__all__ = [
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Failure",
    "ImagesFailed",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "Prediction",
    "Unreachable",
]
