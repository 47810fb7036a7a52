"""Talking to a Triton endpoint over HTTP or gRPC, and its complaints as one line each."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runtime.errors import BadInput, NgcrunError, ToolFailed
from runtime.triton.model_config import Signature, Tensor, signature_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKEN = "TRITON_TOKEN"  # noqa: S105 - the name of an environment variable
# One deployment of an AzureML endpoint, past its traffic split. Source: learn.microsoft.com, how-to-safely-rollout.
DEPLOYMENT, DEPLOYMENT_HEADER = "TRITON_DEPLOYMENT", "azureml-model-deployment"
# Authorities to trust instead of the system's, as a PEM file. Source: OpenSSL, SSL_CTX_set_default_verify_paths(3).
AUTHORITIES = "SSL_CERT_FILE"
PROTOCOLS = ("http", "grpc")
TOO_SMALL = "shared memory size specified"  # what the server says of a region that an output does not fit in
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0  # between the tries of one request


class TransportError(ToolFailed):
    """The request did not get through; the only failure that is worth another try."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: `address` is host[:port][/path] without a scheme."""

    address: str
    protocol: str = "http"
    secure: bool = False

    @classmethod
    def parse(cls, url: str, protocol: str) -> Endpoint:
        """Read a URL such as `localhost:8000`, `https://name.region.inference.ml.azure.com` or `grpc://host:8001`."""
        parts = urlsplit(url if "://" in url else f"//{url}")
        schemes = {"": False, "http": False, "https": True, "grpc": False, "grpcs": True}
        if parts.scheme not in schemes or not parts.hostname or parts.query or parts.username:
            raise BadInput.of("url", url, "is not the address of a server", "write localhost:8000 or https://host")
        try:
            port = parts.port
        except ValueError as error:
            raise BadInput.of("url", url, "has a port that is none", "write localhost:8000 or https://host") from error
        secure = schemes[parts.scheme]
        default = ":443" if secure else ":8001" if protocol == "grpc" else ":8000"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = host + (f":{port}" if port else default) + parts.path.rstrip("/")
        return cls(address, protocol, secure)


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    """What goes with each request: the key and the deployment, from the environment."""
    token, chosen = os.environ.get(TOKEN, ""), os.environ.get(DEPLOYMENT, "")
    key = "Authorization" if endpoint.protocol == "http" else "authorization"  # gRPC metadata is lower case
    return ({key: f"Bearer {token}"} if token else {}) | ({DEPLOYMENT_HEADER: chosen} if chosen else {})


class Client:
    """A connection for one thread; close it, as an open one holds up the server's end."""

    def __init__(self, endpoint: Endpoint, model: str, version: str = "", timeout_s: float = 60.0) -> None:
        self.endpoint, self.model, self.version, self.timeout_s = endpoint, model, version, timeout_s
        self._headers = headers_of(endpoint) or None
        self._client = _http(endpoint, timeout_s) if endpoint.protocol == "http" else _grpc(endpoint)
        self._extra = {} if endpoint.protocol == "http" else {"client_timeout": timeout_s}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(Exception):  # the answer is already here; a broken connection is closed enough
            self._client.close()

    def config(self) -> Any:
        """The model's `ModelConfig` as the server has it."""
        with explained(self.endpoint, self.model):
            if self.endpoint.protocol == "grpc":
                return self._client.get_model_config(
                    self.model, self.version, headers=self._headers, **self._extra
                ).config
            from google.protobuf import json_format
            from tritonclient.grpc.model_config_pb2 import ModelConfig

            document = self._client.get_model_config(self.model, self.version, headers=self._headers)
            return json_format.ParseDict(document, ModelConfig(), ignore_unknown_fields=True)

    def signature(self) -> Signature:
        """What the model takes and gives."""
        return signature_of(self.config())

    def infer(self, inputs: Mapping[str, NDArray[Any]], types: Mapping[str, str]) -> dict[str, NDArray[Any]]:
        """The outputs for one request; raises `BadInput`, `ToolFailed` or `TransportError` as the server complains."""
        tensors = tensors_of(inputs, types, self.endpoint.protocol)
        with explained(self.endpoint, self.model):
            result = self._client.infer(self.model, tensors, self.version, headers=self._headers, **self._extra)
            return arrays_of(result, self.endpoint.protocol)


def tensors_of(inputs: Mapping[str, NDArray[Any]], types: Mapping[str, str], protocol: str) -> list[Any]:
    """The inputs of one request as tritonclient takes them."""
    if protocol == "http":
        from tritonclient.http import InferInput
    else:
        from tritonclient.grpc import InferInput
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), types[name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def arrays_of(result: Any, protocol: str) -> dict[str, NDArray[Any]]:
    """The outputs of one answer of tritonclient, by name."""
    return {name: result.as_numpy(name) for name in described(result, protocol)}


def described(result: Any, protocol: str) -> dict[str, tuple[list[int], str]]:
    """Shape and Triton's type of each output of one answer."""
    response = result.get_response()
    if protocol == "http":
        return {told["name"]: (told["shape"], told["datatype"]) for told in response.get("outputs", [])}
    return {told.name: (list(told.shape), told.datatype) for told in response.outputs}


@contextlib.contextmanager
def explained(endpoint: Endpoint, model: str) -> Iterator[None]:
    """What the server or the network says in the block is raised as an error of ours."""
    try:
        yield
    except NgcrunError:
        raise
    except Exception as error:
        told = explain(error, endpoint, model)
        if told is None:
            raise
        raise told from error


def _http(endpoint: Endpoint, timeout_s: float) -> Any:
    from tritonclient.http import InferenceServerClient

    if not endpoint.secure:
        return InferenceServerClient(endpoint.address, connection_timeout=timeout_s, network_timeout=timeout_s)
    import gevent.ssl

    path = authorities(endpoint)

    def context(cafile: str | None = None) -> Any:
        """Trusts the file alone where it is named: certifi's, which geventhttpclient hands in, would replace it."""
        return gevent.ssl.create_default_context(cafile=path or cafile)

    return InferenceServerClient(
        endpoint.address, ssl=True, ssl_context_factory=context,
        connection_timeout=timeout_s, network_timeout=timeout_s,
    )  # fmt: skip


def _grpc(endpoint: Endpoint) -> Any:
    from tritonclient.grpc import InferenceServerClient

    return InferenceServerClient(endpoint.address, ssl=endpoint.secure, root_certificates=authorities(endpoint))


def authorities(endpoint: Endpoint) -> str | None:
    """The file of authorities to trust, for clients that do not look for it themselves; None for the usual ones.

    Raises:
        BadInput: when the file cannot be read.
    """
    path = os.environ.get(AUTHORITIES) if endpoint.secure else None
    if path and not os.access(path, os.R_OK):
        raise BadInput.of(AUTHORITIES, path, "cannot be read", "name a PEM file with the authorities to trust")
    return path or None


# What a server says, and what to do about it: (pattern, port, todo). The text is the same over HTTP and gRPC.
# Source: each line measured with tritonserver 2.51.0, docs/triton.md.
COMPLAINTS = (
    (r"unknown model|is not found", "model_name", "load it, or name one that the server has"),
    (r"data-type is", "input", "send the type that the model expects"),
    (r"unexpected shape for input", "input", "send the features that the model was trained on"),
    (r"batch-size must be <=", "batch_size", "use a smaller batch_size"),
    (r"unexpected inference (input|output)", "input", "the model has other tensors; see its config.pbtxt"),
    (r"expected \d+ inputs? but got|missing required input", "input", "send every input of the model"),
    (r"is not ready|has no available versions", "model_name", "load the model, or look into the server's log"),
    (r"byte size mismatch", "input", "send at least one row of the right width"),
    (TOO_SMALL, "shared_memory", "say shared_memory=no: the model gives more than it says"),
    (r"holds NaN|holds an infinity", "input", "drop or fill these rows first"),
)
RETRIED = {"429", "502", "503", "504", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
# gRPC's own words for a stream that ended under a write; they hide the status that came. Source: grpc/grpc#36066.
LOST = ("INTERNAL", "Internal error from Core")
REFUSED = {"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"}
BAD_REQUEST = {"400", "404", "INVALID_ARGUMENT", "NOT_FOUND"}


def explain(error: Exception, endpoint: Endpoint, model: str) -> NgcrunError | None:
    """The server's or the network's complaint as an error of ours; None for what is neither."""
    from tritonclient.utils import InferenceServerException

    where = endpoint.address
    if isinstance(error, InferenceServerException):
        return _complaint(str(error.status()).removeprefix("StatusCode."), one_line(error.message()), where, model)
    origin = type(error).__module__.split(".", 1)[0]
    if origin == "grpc" and hasattr(error, "code"):  # a stream's, which tritonclient hands on as it is
        call: Any = error
        return _complaint(call.code().name, one_line(call.details() or ""), where, model)
    if isinstance(error, OSError) or origin in ("gevent", "geventhttpclient", "aiohttp"):
        return TransportError(f"{where}: no answer ({one_line(str(error)) or type(error).__name__})")
    return None


def _complaint(status: str, text: str, where: str, model: str) -> NgcrunError:
    if status in RETRIED or (status, text) == LOST or (status == "None" and "timed out" in text):
        return TransportError(f"{where}: no answer ({text})")
    if status in REFUSED:
        return BadInput.of("url", where, f"refuses the request ({status})", f"put a valid key into {TOKEN}")
    for pattern, port, todo in COMPLAINTS:
        if re.search(pattern, text):
            return BadInput.of(port, model, text, todo)
    if status in BAD_REQUEST:
        return BadInput.of("model_name", model, text, "see the server's log")
    return ToolFailed(f"{where}: {text}")


def one_line(text: str) -> str:
    """A server's text without its traceback and the number of the request, on one line."""
    first = text.split("\n\nAt:", maxsplit=1)[0].removeprefix("[request id: <id_unknown>] ")
    return " ".join(first.split())[:500]


def typed(inputs: tuple[Tensor, ...]) -> dict[str, str]:
    """Triton's type of each input by name."""
    return {tensor.name: tensor.dtype for tensor in inputs}
