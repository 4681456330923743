"""Starts a shuntd for a test and knows where it listens. Standard library only."""
import json
import os
import signal
import subprocess
import threading


class Shuntd:
    """One server on a data directory; start() again after stop() or kill() to restart it."""

    def __init__(self, binary, data_dir):
        self.binary, self.data_dir = binary, data_dir
        self.process, self.router, self.admin, self.lines = None, None, None, []

    def start(self, listen="127.0.0.1:0", timeout_s=60):
        """Returns when both services have said where they listen."""
        self.router, self.admin, self.lines = None, None, []
        self.process = subprocess.Popen(
            [self.binary, "--data-dir", self.data_dir, "--listen", listen,
             "--metrics-listen", "none"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        bound = threading.Event()
        threading.Thread(target=self._read, args=(self.process, bound), daemon=True).start()
        if not bound.wait(timeout_s) or not (self.router and self.admin):
            self.kill()
            raise RuntimeError("shuntd did not say where it listens:\n" + "".join(self.lines))

    def client_env(self, folder, addresses=True):
        """The environment of a program that is to find this server, or none, and this shuntd."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("SHUNT_")}
        env["TMPDIR"] = folder
        env["PATH"] = os.path.dirname(self.binary) + ":" + env.get("PATH", "")
        if addresses:
            env.update(SHUNT_SERVER=self.router, SHUNT_ADMIN=self.admin)
        return env

    def _read(self, process, bound):
        """Reads the log to its end, so that the server never waits for us."""
        with process.stderr as log:
            self._follow(log, bound)
        bound.set()

    def _follow(self, log, bound):
        for line in log:
            self.lines.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if not isinstance(event, dict) or event.get("event") != "listening":
                continue
            address = event.get("address", "")
            if event.get("service") == "router" and not self.router:
                self.router = address
            elif event.get("service") == "admin" and not self.admin:
                self.admin = address
            if self.router and self.admin:
                bound.set()

    def stop(self, timeout_s=30):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self):
        """SIGKILL: nothing is flushed."""
        self.process.kill()
        self.process.wait()

