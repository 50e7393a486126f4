import subprocess
import sys


def test_importing_the_client_imports_no_daemon_code() -> None:
    code = (
        "import sys, lightfast.client\n"
        "rooms = ('app', 'wire', 'engine', 'gateway', 'context', 'storage', 'host', 'sdk', 'security')\n"
        "loaded = [m for m in sys.modules if m.startswith(tuple(f'lightfast.{r}' for r in rooms))]\n"
        "loaded += [m for m in ('apsw', 'zmq', 'pluggy', 'watchdog', 'pythonosc', 'typer') if m in sys.modules]\n"
        "print(loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True)
    assert done.stdout.strip() == "[]"
