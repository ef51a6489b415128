"""The thread, event loop and connections behind one endpoint."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from typing import Any

import aiohttp
import orjson

from tutelage.backends.address import Address, Key


class Line:
    """Opened at the first request. Holds no reference to the back end it serves, so that it can be told when that goes."""

    def __init__(self, address: Address, key: Key) -> None:
        self._address = address
        self._key = key
        self._headers = {"Content-Type": "application/json", "User-Agent": "tutelage"} | key.header()
        self._proxy = _proxy_for(address)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_open(self) -> bool:
        return self._loop is not None

    def running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=f"endpoint {self._address.host}", daemon=True)
            self._thread.start()
        return self._loop

    def shut(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        closed = asyncio.run_coroutine_threadsafe(self._close(), loop)
        if threading.current_thread() is thread:
            closed.add_done_callback(lambda _: loop.stop())  # the last reference died on this very thread: nothing to wait for
            return
        closed.result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    # On the line's own thread only

    async def post(self, path: str, payload: dict[str, Any], *, base: str | None = None) -> tuple[int, Any, bytes]:
        """(status, headers, body) of the reply, whatever it is."""
        url = (base if base is not None else self._address.base) + path
        async with self._open_session().post(url, data=orjson.dumps(payload), allow_redirects=False, proxy=self._proxy) as response:
            # Scrubbed before it is bound to any name: some servers quote the key, and tracebacks may show local variables.
            return response.status, response.headers, self._key.scrub_bytes(await response.read())

    async def models(self) -> list[str]:
        """What the endpoint says it serves; empty where it does not say."""
        try:
            async with self._open_session().get(self._address.base + "/models", allow_redirects=False, proxy=self._proxy) as response:
                rows = orjson.loads(await response.read())["data"] if response.status == 200 else []
                return [str(row["id"]) for row in rows]
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, KeyError, TypeError):
            return []

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=self._address.timeout_s, sock_connect=self._address.connect_s),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # it would also read passwords from ~/.netrc
            )
        return self._session

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy_for(address: Address) -> str | None:
    """The user's proxy, never for this machine itself."""
    if address.is_local or urllib.request.proxy_bypass(address.host):
        return None
    scheme = address.base.partition("://")[0]
    return urllib.request.getproxies().get(scheme)
