"""What the operator of a server may choose: by flags, or by variables named `MASKKV_…`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from maskkv.budget import DEFAULT_BUDGET, Budget, check_budget, read_budget
from maskkv.errors import InputError


class ServerSettings(BaseSettings):
    """Hold a server's settings; a field `max_queue` is also the variable `MASKKV_MAX_QUEUE`."""

    model_config = SettingsConfigDict(env_prefix="MASKKV_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free one."""
    policy: str = "maskkv"
    budget: Budget = DEFAULT_BUDGET
    """For requests that name none: pairs per KV head and layer, or a part of the prompt."""
    evicted: Literal["drop", "host", "device"] = "drop"
    """What becomes of evicted pairs, for requests that do not say."""
    api_key: SecretStr | None = None
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Several keys, separated by commas."""
    api_key_file: Path | None = None
    """One key a line; empty lines and lines that start with # do not count."""
    max_queue: int = Field(default=64, ge=1)
    """Requests that wait for a place; one more is answered with 429."""
    max_batch: int = Field(default=16, ge=1)
    """Requests that run together."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes that running requests may take beside the weights; None means nine tenths of what is free at the start.

    On a GPU evicted pairs that wait may take as much of the host's memory beside it.
    """
    timeout: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Seconds that a request may take, waiting included."""
    drain_timeout: int = Field(default=30, ge=0)
    """Seconds that running requests get to finish after SIGTERM."""
    body_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds that a request's body may take to arrive."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    max_prompt_length: int = Field(default=32768, ge=1)
    """Tokens."""
    max_gen_length: int = Field(default=4096, ge=1)
    """Tokens."""

    @field_validator("budget", mode="before")
    @classmethod
    def _usable(cls, budget: object) -> Budget:
        return read_budget(budget) if isinstance(budget, str) else check_budget(budget)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, keys: object) -> object:
        return keys.split(",") if isinstance(keys, str) else keys

    @classmethod
    def read(cls, given: Mapping[str, object]) -> ServerSettings:
        """Take what was given, else what the environment says, else the defaults.

        Raises:
            InputError: A value is out of its range, or the server would be open to other machines without a key.
        """
        try:
            settings = cls(**dict(given))  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            ours = first.get("ctx", {}).get("error")
            if isinstance(ours, InputError):
                raise ours from None
            raise InputError(f"{name.replace('_', ' ')}: {first['msg']}") from None
        if not settings.local and not settings.accepted_keys():
            raise InputError(
                f"host {settings.host} can be reached from other machines, and no API key is set: set MASKKV_API_KEY "
                "or --api-key-file, or serve on 127.0.0.1"
            )
        return settings

    @property
    def local(self) -> bool:
        """Tell whether only this machine can reach the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def accepted_keys(self) -> tuple[bytes, ...]:
        """Return the keys that clients may show; none means that everyone may ask.

        Raises:
            InputError: The file of keys cannot be read.
        """
        secrets = [*self.api_keys, *([] if self.api_key is None else [self.api_key])]
        words = [secret.get_secret_value() for secret in secrets]
        if self.api_key_file is not None:
            try:
                lines = self.api_key_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot read the API keys in {self.api_key_file}: {error}") from None
            words += [line for line in lines if not line.startswith("#")]
            if not any(line.strip() for line in words):
                raise InputError(f"{self.api_key_file} holds no API key: expected one a line")
        return tuple(word.strip().encode() for word in words if word.strip())
