"""How the identity provider refuses: an OAuth error, an error page, or an error that the browser carries back."""

from __future__ import annotations

BAD_CLIENT = "Invalid client or Invalid client credentials"


class OAuthRefusal(Exception):
    """An OAuth error answer (RFC 6749 5.2), with Keycloak's status and words."""

    def __init__(self, status: int, error: str, description: str = "") -> None:
        self.status = status
        self.error = error
        self.description = description
        super().__init__(f"{status} {error}: {description}")


class Stopped(Exception):
    """An error page: nothing in the request may be trusted to send the browser anywhere."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(f"{status} {words}")


class SentBack(Exception):
    """An error answer to the client, by the browser (RFC 6749 4.1.2.1)."""

    def __init__(
        self, error: str, description: str = "", *, fragment: bool = False, status: int = 400
    ) -> None:
        self.error = error
        self.description = description
        self.fragment = fragment
        self.status = status
        super().__init__(f"{error}: {description}")
