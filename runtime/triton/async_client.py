"""Talking to a Triton endpoint with many requests under way in one thread: HTTP, gRPC, or a gRPC stream a request."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.triton.client import Endpoint, arrays_of, authorities, described, explained, headers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.triton.shared_memory import Region

Feed = Mapping[str, "NDArray[Any]"]
Answer = dict[str, "NDArray[Any]"]
PROTOCOLS = ("http", "grpc", "stream")
# tritonclient's own limits, and a broken connection is opened again within the pauses between our tries.
# Source: grpc.github.io, grpc_arg_keys: the pause before a new connection grows to 2 minutes otherwise.
CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class AsyncClient:
    """Connections of one event loop, for use in an `async with`; `stream`: each request by a gRPC stream of its own."""

    def __init__(
        self, endpoint: Endpoint, model: str, version: str = "", timeout_s: float = 60.0, *, stream: bool = False
    ) -> None:
        self.endpoint, self.model, self.version = endpoint, model, version
        self.timeout_s, self.stream = timeout_s, stream
        self._timeout = {} if endpoint.protocol == "http" else {"client_timeout": timeout_s}
        self._client: Any = None

    async def __aenter__(self) -> AsyncClient:
        self._client = (
            _http(self.endpoint, self.timeout_s) if self.endpoint.protocol == "http" else _grpc(self.endpoint)
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        with contextlib.suppress(Exception):  # the answers are already here
            await self._client.close()

    async def config(self) -> Any:
        """The model's `ModelConfig` as the server has it."""
        with explained(self.endpoint, self.model):
            found = await self._client.get_model_config(
                self.model, self.version, headers=self._headers(), **self._timeout
            )
            if self.endpoint.protocol == "grpc":
                return found.config
            from google.protobuf import json_format
            from tritonclient.grpc.model_config_pb2 import ModelConfig

            return json_format.ParseDict(found, ModelConfig(), ignore_unknown_fields=True)

    async def infer(self, inputs: Feed, types: Mapping[str, str], region: Region | None = None) -> list[Answer]:
        """The answers to one request: one, or those of a stream, which come through its socket.

        `region`: what the inputs go through, and the outputs whose size is known beforehand.
        """
        tensors = self._tensors(inputs, types, region)
        with explained(self.endpoint, self.model):
            if self.stream:
                return [arrays_of(result, self.endpoint.protocol) async for result in self._streamed(tensors)]
            places = region.places(inputs) if region else {}
            outputs = self._requested(region, places) if region and places else None
            result = await self._client.infer(
                self.model, tensors, self.version, outputs=outputs, headers=self._headers(), **self._timeout
            )
            return [self._answer(result, region, places)]

    async def register(self, name: str, size: int) -> None:
        """Have the server map the shared memory `/name`."""
        with explained(self.endpoint, self.model):
            await self._client.register_system_shared_memory(name, f"/{name}", size, headers=self._headers())

    async def unregister(self, name: str) -> None:
        """Have the server let go of it."""
        with explained(self.endpoint, self.model):
            await self._client.unregister_system_shared_memory(name, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        """New for each request: tritonclient writes the length of the one at hand into it.

        aiohttp asks for compressed answers by itself, and Triton then compresses them, which takes longer than to send
        numbers as they are: 12 answers of 4 MB a second instead of 38 (tritonserver 2.51.0, two cores).
        """
        plain = {"Accept-Encoding": "identity"} if self.endpoint.protocol == "http" else {}
        return plain | headers_of(self.endpoint)

    def _tensors(self, inputs: Feed, types: Mapping[str, str], region: Region | None) -> list[Any]:
        if self.endpoint.protocol == "http":
            from tritonclient.http import InferInput
        else:
            from tritonclient.grpc import InferInput
        tensors, places = [], region.write(inputs) if region else {}
        for name, array in inputs.items():
            tensor = InferInput(name, list(array.shape), types[name])
            if region and name in places:
                tensor.set_shared_memory(region.name, array.nbytes, offset=places[name])
            else:
                tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        return tensors

    def _requested(self, region: Region, places: Mapping[str, tuple[int, int]]) -> list[Any]:
        """Every output of the model, with its place in shared memory where it has one."""
        if self.endpoint.protocol == "http":
            from tritonclient.http import InferRequestedOutput
        else:
            from tritonclient.grpc import InferRequestedOutput
        wanted = []
        for tensor in region.signature.outputs:
            output = InferRequestedOutput(tensor.name)
            if tensor.name in places:
                at, size = places[tensor.name]
                output.set_shared_memory(region.name, size, offset=at)
            wanted.append(output)
        return wanted

    def _answer(self, result: Any, region: Region | None, places: Mapping[str, tuple[int, int]]) -> Answer:
        if region is None or not places:
            return arrays_of(result, self.endpoint.protocol)
        return {
            name: region.read(places[name], *told) if name in places else result.as_numpy(name)
            for name, told in described(result, self.endpoint.protocol).items()
        }

    async def _streamed(self, tensors: Sequence[Any]) -> AsyncIterator[Any]:
        """Each response to one request, until the server has no more; a stream of its own has errors of its own."""

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": self.model, "model_version": self.version, "inputs": tensors}

        responses = self._client.stream_infer(one(), stream_timeout=self.timeout_s, headers=self._headers())
        async for result, error in responses:
            if error is not None:
                raise error
            yield result


def _http(endpoint: Endpoint, timeout_s: float) -> Any:
    import ssl

    from tritonclient.http.aio import InferenceServerClient

    class InPieces(InferenceServerClient):  # type: ignore[misc]
        """Sends a body a piece at a time: a large one in one piece holds up the others, and aiohttp warns of it."""

        async def _post(self, request_uri: str, request_body: Any, headers: Any, query_params: Any) -> Any:
            body = io.BytesIO(request_body) if isinstance(request_body, bytes) else request_body
            return await super()._post(request_uri, body, headers, query_params)

    context = (
        ssl.create_default_context(cafile=authorities(endpoint)) if endpoint.secure else True
    )  # aiohttp's word for "as usual"
    return InPieces(endpoint.address, ssl=endpoint.secure, ssl_context=context, conn_timeout=timeout_s, conn_limit=0)


def _grpc(endpoint: Endpoint) -> Any:
    from tritonclient.grpc.aio import InferenceServerClient

    return InferenceServerClient(
        endpoint.address, ssl=endpoint.secure, root_certificates=authorities(endpoint), channel_args=list(CHANNEL)
    )
