"""Run every benchmark of this folder, one after the other, each in a process of its own: `make bench`.

Names as arguments run only those. A benchmark prints its ratios and exits with 0 whatever they are; this one fails only where one breaks.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    found = sorted(p for p in HERE.glob("*.py") if p.name != Path(__file__).name and not p.name.startswith("_"))
    wanted = set(sys.argv[1:])
    unknown = wanted - {p.stem for p in found}
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(p.stem for p in found)}", file=sys.stderr)
        return 2
    broken = []
    for path in found:
        if wanted and path.stem not in wanted:
            continue
        print(f"== {path.stem}", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, str(path)], check=False).returncode != 0:
            broken.append(path.stem)
        print(f"== {path.stem}: {time.monotonic() - started:.0f} s\n", flush=True)
    if broken:
        print(f"broken: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
