"""Every module is imported for real, with the libraries that it names."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mien", "edge", "trainer", "optimize", "fleet")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NEEDS_TORCH = {"optimize/graph/module.py"}  # defines a torch module; imported by a function, when it is exported


def _name(path):
    return path.relative_to(ROOT).as_posix()


def test_importing_the_house_does_nothing():
    """No module opens a socket, starts a thread or writes to the terminal when it is imported."""
    names = [
        _name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in MODULES
        if path.name != "__main__.py" and "migrations" not in path.parts and _name(path) not in NEEDS_TORCH
    ]
    code = (
        "import socket, sys, threading, importlib\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened at import')\n"
        "socket.socket.connect = refuse\nsocket.socket.bind = refuse\nsocket.getaddrinfo = refuse\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "heavy = {'torch', 'ultralytics', 'modelopt', 'tensorrt'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
