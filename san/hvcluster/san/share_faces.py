"""How witness files are served: over gRPC as a file share, over HTTP as blobs.

Law: translates and validates. A disk that refuses ends the process, for what it had may be lost; a request that makes
no sense is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import grpc
import grpc.aio
from aiohttp import web

from hvcluster.model.share import MAX_FILE_BYTES, NO_FILE, ReadFile, ShareAnswer, ShareOutcome, ShareRequest, WriteFile
from hvcluster.runtime.blob_account import BlobAccount
from hvcluster.v1 import share_pb2, share_pb2_grpc

from .share import Share, ShareError

SERVICE: Final = share_pb2.DESCRIPTOR.services_by_name["FileShare"].full_name
CONTAINER: Final = "msft-cloud-witness"

Failed = Callable[[OSError], None]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_AUTHENTICATION_FAILED: Final = {"x-ms-error-code": "AuthenticationFailed"}


class FileShare(share_pb2_grpc.FileShareServicer):
    """The file share. `failed` is told when the disk refuses."""

    def __init__(self, share: Share, failed: Failed) -> None:
        self._share = share
        self._failed = failed

    async def Read(
        self,
        request: share_pb2.ReadFileRequest,
        context: grpc.aio.ServicerContext[share_pb2.ReadFileRequest, share_pb2.FileReply],
    ) -> share_pb2.FileReply:
        """What stands in the file."""
        try:
            return _reply(self._share.ask(request.cluster_id, ReadFile()))
        except ShareError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except OSError as error:
            self._failed(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def Replace(
        self,
        request: share_pb2.ReplaceFileRequest,
        context: grpc.aio.ServicerContext[share_pb2.ReplaceFileRequest, share_pb2.FileReply],
    ) -> share_pb2.FileReply:
        """Write the file over the version that was read."""
        try:
            return _reply(self._share.ask(request.cluster_id, WriteFile(request.data, request.expected)))
        except ShareError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except OSError as error:
            self._failed(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def _reply(answer: ShareAnswer) -> share_pb2.FileReply:
    return share_pb2.FileReply(done=answer.outcome is ShareOutcome.DONE, data=answer.data, version=answer.version)


def blobs(share: Share, failed: Failed, account: BlobAccount | None = None) -> web.Application:
    """What a cloud witness needs of a blob service: GET, HEAD and a conditional PUT of one blob a cluster.

    With an account, only requests that are signed with its key are served, under `/ACCOUNT/`.
    """

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if account is not None and not account.admits(
            request.method, str(request.url), dict(request.headers), datetime.now(UTC)
        ):
            raise web.HTTPForbidden(text="the signature is not this account's", headers=_AUTHENTICATION_FAILED)
        return await handler(request)

    def ask(request: web.Request, question: ShareRequest) -> ShareAnswer:
        try:
            return share.ask(request.match_info["cluster"], question)
        except ShareError as error:
            raise web.HTTPConflict(text=str(error)) from None
        except OSError as error:
            failed(error)
            raise web.HTTPServiceUnavailable(text=str(error)) from None

    async def get(request: web.Request) -> web.Response:
        answer = ask(request, ReadFile())
        if answer.version == NO_FILE:
            raise web.HTTPNotFound(text="there is no such blob", headers={"x-ms-error-code": "BlobNotFound"})
        return web.Response(body=answer.data, headers={"ETag": f'"{answer.version}"'})

    async def put(request: web.Request) -> web.Response:
        match, none_match = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if (match is None) == (none_match is None) or none_match not in (None, "*"):
            raise web.HTTPBadRequest(text="say If-Match with an ETag, or If-None-Match: *")
        expected = NO_FILE if match is None else match.strip('"')
        answer = ask(request, WriteFile(await request.read(), expected))
        if answer.outcome is not ShareOutcome.DONE:
            raise web.HTTPPreconditionFailed(text="the blob has another ETag")
        return web.Response(status=201, headers={"ETag": f'"{answer.version}"'})

    application = web.Application(client_max_size=MAX_FILE_BYTES, middlewares=[admit])
    prefix = "" if account is None else urlsplit(account.endpoint).path
    application.router.add_get(f"{prefix}/{CONTAINER}/{{cluster}}", get)
    application.router.add_put(f"{prefix}/{CONTAINER}/{{cluster}}", put)
    return application
