"""The model of every answer that is an error; it documents what `failures.error_body` writes."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["ErrorDocument", "ErrorView"]


class ErrorView(BaseModel):
    """What went wrong. `code` is stable; `field` and `limit` are set where there is one."""

    code: str
    message: str
    field: str | None = None
    limit: str | None = None
    retryable: bool = False


class RegistryError(BaseModel):
    """The same in the words of IBM's error registry."""

    code: int
    message: str
    more_info: str
    solution: str


class ErrorDocument(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorView
    errors: list[RegistryError]
    trace: str = Field(description="identifier of the request, also in x-request-id")
