"""Start the stub server as a process of its own, and ask it what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

STUB = Path(__file__).with_name("stub.py")


class Stub:
    """A running stub server; `with Stub(rate_429=0.1) as stub: ...`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Stub:
        self.start()
        return self

    def start(self) -> None:
        """Start the server; again, if it ran before."""
        self.stop()
        self._process = subprocess.Popen([sys.executable, str(STUB), json.dumps(self.settings)], stdout=subprocess.PIPE, text=True)
        stdout = self._process.stdout
        self.url = stdout.readline().strip() if stdout else ""
        if not self.url:
            raise RuntimeError("stub server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    def name(self, **options: Any) -> str:
        """The model name for this server."""
        query = "&".join(f"{k}={v}" for k, v in options.items())
        return f"openai:stub-model@{self.url}" + (f"?{query}" if query else "")

    def bill(self) -> dict[str, Any]:
        return self._ask("/stub/bill")

    def reset(self) -> None:
        self._ask("/stub/reset", {})

    def set(self, **settings: Any) -> None:
        self._ask("/stub/settings", settings)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = self.url.removesuffix("/v1") + path
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30) as reply:
            return json.loads(reply.read())
