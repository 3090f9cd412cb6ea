"""The dashboard: one page for people, which asks the same routes as programs do."""

import base64
import hashlib
import html
import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.challenges import Challenging
from api.keys import Reader
from api.openapi import ERRORS
from settings import Settings

_PAGE = (Path(__file__).parent / "dashboard.html").read_text(encoding="utf-8")
_SIMULATED = '<span class="mark">Simulated Phota: nothing is really charged</span>'
_AWS = "https://*.amazonaws.com"


router = APIRouter(tags=["operation"], route_class=Challenging)


def _hash_of(tag: str) -> str:
    inline = re.search(rf"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    assert inline is not None, "the page is part of this program"  # noqa: S101
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()}'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash_of('script')}",
        f"style-src {_hash_of('style')}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _picture_sources(settings: Settings) -> str:
    """Where the presigned addresses of outputs lead."""
    if not settings.s3_endpoint_url:
        return _AWS
    parts = urlsplit(settings.s3_endpoint_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if _is_address(parts.hostname or "") else f"{origin} {parts.scheme}://*.{parts.netloc}"


def _is_address(host: str) -> bool:
    """No bucket can stand in front of it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


@router.get("/", summary="Dashboard", response_class=HTMLResponse, responses=ERRORS)
def read_dashboard(request: Request, caller: Reader) -> HTMLResponse:
    """Batches as they move, in a browser; it asks for a key (any user name, the key as password)."""
    settings = request.app.state.settings
    policy = f"{_POLICY}; img-src data: {_picture_sources(settings)}"
    shown = _page_of(caller.account.name, is_simulated=settings.is_simulated)
    return HTMLResponse(shown, headers={**_HEADERS, "Content-Security-Policy": policy})


def _page_of(account: str, *, is_simulated: bool) -> str:
    """The account's name last and escaped, so that nothing in it is taken for a place of the page."""
    marked = _PAGE.replace("<!-- mark -->", _SIMULATED if is_simulated else "")
    return marked.replace("<!-- account -->", html.escape(account))
