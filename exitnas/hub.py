"""Is the Hugging Face hub there? One short probe per process, so that nobody waits for a client's retries.

The hub's own clients retry an unreachable file for some twenty seconds each. exitnas asks once, with a short limit, and
reports an absent hub in one line that names the way out.
"""

import os
import ssl
import threading
import urllib.error
import urllib.request
from functools import cache

from exitnas.errors import ExitnasError

DEFAULT_ENDPOINT = "https://huggingface.co"
PROBE_SECONDS = 2.0
"""Limit of the whole probe in seconds, name resolution included."""

WAY_OUT = "give a local folder, or use a cached copy with --offline"


def endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT` when set, the public hub otherwise."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def offline_by_environment() -> bool:
    """Whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` asks for no network."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in {"1", "ON", "YES", "TRUE"} for value in values)


def probe(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `url` answers an HTTP HEAD request within `seconds`; proxies of the environment are used.

    Any answer below 500 counts. A certificate the standard library does not trust counts too: the hub's client may
    know another bundle, and its own error is then the better one.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "exitnas"})
            with urllib.request.urlopen(request, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError as error:
            answers.append(error.code < 500)
            error.close()
        except urllib.error.URLError as error:
            answers.append(isinstance(error.reason, ssl.SSLCertVerificationError))
        except (OSError, ValueError):
            answers.append(False)

    # A thread, because the socket timeout does not cover a name server that never answers.
    thread = threading.Thread(target=ask, daemon=True, name="exitnas-hub-probe")
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


@cache
def is_reachable() -> bool:
    """Whether the hub answers; asked once per process (`is_reachable.cache_clear()` asks again)."""
    return not offline_by_environment() and probe(endpoint())


def require_hub(what: str, way_out: str = WAY_OUT) -> None:
    """Raise `ExitnasError` when the hub is unreachable.

    Args:
        what: the thing wanted from it, first word of the message, e.g. `"task rte"`.
        way_out: what the user can do instead.
    """
    if is_reachable():
        return
    why = "is switched off by HF_HUB_OFFLINE" if offline_by_environment() else "does not answer"
    raise ExitnasError(f"{what}: needs the hub, but {endpoint()} {why}; {way_out}")
