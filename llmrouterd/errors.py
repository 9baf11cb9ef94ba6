"""Every error a request can end with, and the one a policy can end with.

    RouterError                      status  type                    code
    ├── BadRequest                   400     invalid_request_error   invalid_request
    │   ├── BodyTooLarge             413     invalid_request_error   request_too_large
    │   └── UnsupportedEncoding      415     invalid_request_error   unsupported_content_encoding
    ├── Unauthorized                 401     authentication_error    invalid_api_key
    ├── Forbidden                    403     permission_error        forbidden
    ├── NotFound                     404     not_found_error         not_found
    │   └── ModelNotFound            404     invalid_request_error   model_not_found
    ├── Conflict                     409     invalid_request_error   conflict
    ├── RequestTimeout               408     invalid_request_error   request_timeout
    ├── RateLimited                  429     rate_limit_error        rate_limit_exceeded
    ├── BudgetSpent                  402     insufficient_quota      budget_spent
    ├── NoCapableModel               400     invalid_request_error   no_capable_model
    ├── NoModelAvailable             503     service_unavailable     no_model_available
    ├── Draining                     503     service_unavailable     shutting_down
    └── UpstreamError                502     upstream_error          upstream_error
        ├── UpstreamUnreachable      502     upstream_error          upstream_unreachable
        ├── UpstreamTimeout          504     upstream_error          upstream_timeout
        ├── UpstreamLoading          503     upstream_error          model_loading
        ├── UpstreamBusy             503     service_unavailable     backend_busy
        │   └── UpstreamLeft         503     service_unavailable     backend_busy
        ├── UpstreamInvalid          502     upstream_error          upstream_invalid_response
        ├── UpstreamInterrupted      502     upstream_error          upstream_interrupted
        └── UpstreamStatus           as sent by the upstream, body preserved
    ConfigError                      all problems of a policy, never raised by a request

`UpstreamError.retryable` says whether another candidate may be tried for as long as nothing was
sent to the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.problems import Problem


class RouterError(Exception):
    """An error that a client sees, in OpenAI's envelope.

    `param` names the request field at fault, as a path; `retry_after` is in seconds; `headers`
    are more headers for the response.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = "internal_error"
    side: ClassVar[str] = "gateway"
    should_retry: ClassVar[bool] = False

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers: dict[str, str] = {}

    @property
    def http_status(self) -> int:
        """The status of the response; UpstreamStatus takes it from the upstream."""
        return self.status

    def envelope(self) -> dict[str, Any]:
        """The body of the response: OpenAI's four fields."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class InternalError(RouterError):
    """A fault of ours; the details are in the log under the request id."""


class BadRequest(RouterError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class BodyTooLarge(BadRequest):
    status = 413
    code = "request_too_large"


class UnsupportedEncoding(BadRequest):
    status = 415
    code = "unsupported_content_encoding"


class Unauthorized(RouterError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(RouterError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(RouterError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class Conflict(RouterError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"


class ModelNotFound(NotFound):
    type = "invalid_request_error"
    code = "model_not_found"


class RequestTimeout(RouterError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class RateLimited(RouterError):
    """Its `headers` are the x-ratelimit-* figures of the limit that was hit."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    should_retry = True

    def __init__(self, message: str, *, retry_after: float, headers: Mapping[str, str]) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers |= headers


class BudgetSpent(RouterError):
    """Only models could serve this whose backend's budget is spent."""

    status = 402
    type = "insufficient_quota"
    code = "budget_spent"


class NoCapableModel(RouterError):
    """No model that the backends serve can ever serve this request."""

    status = 400
    type = "invalid_request_error"
    code = "no_capable_model"


class NoModelAvailable(RouterError):
    """A model could serve this request, but none can right now."""

    status = 503
    type = "service_unavailable"
    code = "no_model_available"
    should_retry = True


class Draining(RouterError):
    status = 503
    type = "service_unavailable"
    code = "shutting_down"
    should_retry = True


class UpstreamError(RouterError):
    """A backend failed. `retryable`: another candidate may do better, as long as the client has
    been sent nothing."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    side = "upstream"
    retryable: bool = True


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class UpstreamLoading(UpstreamError):
    """The backend answers, but its model is still being loaded."""

    status = 503
    code = "model_loading"
    should_retry = True


class UpstreamBusy(UpstreamError):
    """No place became free in our queue for the backend; it was never asked."""

    status = 503
    type = "service_unavailable"
    code = "backend_busy"
    side = "gateway"
    should_retry = True


class UpstreamLeft(UpstreamBusy):
    """The model was found not to be well while the request waited for a place with it."""


class UpstreamInvalid(UpstreamError):
    """The answer is not what the protocol says: wrong content type, broken JSON, no answer."""

    code = "upstream_invalid_response"


class UpstreamInterrupted(UpstreamError):
    """The connection was closed before the answer was complete, or before it began."""

    code = "upstream_interrupted"


class UpstreamStatus(UpstreamError):
    """The backend answered with an error status; its status and body are passed on."""

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        body: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.upstream_status = upstream_status
        self.body = body
        # A request that is wrong for one backend is wrong for all; the rest is that backend's.
        self.retryable = upstream_status in {401, 402, 403, 404, 408, 409, 425, 429} or (
            upstream_status >= 500
        )

    @property
    def http_status(self) -> int:
        # 401 and 403 speak of the key between us and the backend, not of the client's.
        return 502 if self.upstream_status in {401, 403} else self.upstream_status

    def envelope(self) -> dict[str, Any]:
        """The upstream's own error object, completed to OpenAI's four fields."""
        error = self.body.get("error") if self.body else None
        if not isinstance(error, dict):
            error = {"message": error if isinstance(error, str) else self.message}
        return {"error": {"type": self.type, "param": None, "code": None, **error}}


class ConfigError(Exception):
    """A policy was refused; `problems` are all its problems, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
