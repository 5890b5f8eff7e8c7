"""Tokens for OAUTHBEARER: from a command that prints one, or from an OIDC provider by client credentials."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from kafka.net.sasl.oauth import AbstractTokenProvider

from craft_stream.errors import AccessError, ConfigurationError, UnavailableError
from craft_stream.settings import SecuritySettings

SECONDS = 10.0  # for a command, or a provider's answer
MARGIN = 30.0  # a token that ends sooner is not used again


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives a token, a new one before it ends; safe with several threads."""

    def __init__(self, security: SecuritySettings) -> None:
        super().__init__()
        self._security = security
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def token(self) -> str:
        """A token that is valid.

        Raises:
            AccessError, ConfigurationError, UnavailableError: none is to be had; why.
        """
        with self._lock:
            if time.time() >= self._until - MARGIN:
                if self._security.sasl_oauth_token_command:
                    self._token, seconds = self._from_command(self._security.sasl_oauth_token_command), None
                else:
                    self._token, seconds = self._from_provider(self._security.sasl_oauth_token_url or "")
                ends = _expiry(self._token)
                self._until = ends if ends is not None else time.time() + (seconds or 0.0)
            return self._token

    def _from_command(self, command: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603
                shlex.split(command), capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"kafka.security.sasl_oauth_token_command: {error}") from None
        token = done.stdout.strip()
        if done.returncode or not token:
            said = done.stderr.strip().splitlines()[-1:] or ["no token was printed"]
            raise AccessError(
                f"kafka.security.sasl_oauth_token_command ended with {done.returncode}: {said[0]}"
            )
        return token

    def _from_provider(self, url: str) -> tuple[str, float]:
        security = self._security
        secret = (
            security.sasl_oauth_client_secret.get_secret_value() if security.sasl_oauth_client_secret else ""
        )
        login = base64.b64encode(f"{security.sasl_oauth_client_id}:{secret}".encode()).decode()
        form = {"grant_type": "client_credentials"}
        if security.sasl_oauth_scope:
            form["scope"] = security.sasl_oauth_scope
        request = urllib.request.Request(  # noqa: S310
            url, urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {login}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                found = json.load(answer)
                return str(found["access_token"]), float(found.get("expires_in", 0))
        except urllib.error.HTTPError as error:
            raise AccessError(
                f"{url} gives no token: {error.code} {error.reason}: check kafka.security.sasl_oauth_client_id, "
                "sasl_oauth_client_secret and sasl_oauth_scope"
            ) from None
        except (OSError, urllib.error.URLError) as error:
            raise UnavailableError(f"{url} gives no token: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{url}: what answers there is no OIDC token endpoint: check kafka.security.sasl_oauth_token_url"
            ) from None


def _expiry(token: str) -> float | None:
    """When a token ends, as it says itself (`exp` of a JWT); None where it does not."""
    try:
        part = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def token_provider(security: SecuritySettings) -> TokenProvider | None:
    """What gives tokens, for OAUTHBEARER only."""
    return TokenProvider(security) if security.sasl_mechanism == "OAUTHBEARER" else None
