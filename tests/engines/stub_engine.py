#!/usr/bin/env python3
"""A stand-in for an inference engine: its adapter protocol over HTTP, its memory, no model.

    stub_engine.py vllm|sglang|llamacpp [--port N] [--slots N] [--cpu-slots N] [--load-ms MS]
        [--touch-ms MS] [--base NAME] [--adapter NAME=PATH[=MS]]... [--strict-paths]
        [--lora PATH]... [--token TOKEN] [--load-at-register] [--loaded-metric] [--no-metrics]
        [--no-listing] [--no-slots-endpoint] [--also-started TEXT]... [--others N] [--echo]

Prints "port N" and serves until it is killed or its parent ends. Standard library only.

Kept: paths, request and answer shapes, status codes, and what is evicted when.
  vllm      --slots is --max-loras: LRU slots, filled by requests; --cpu-slots keeps copies that come
            back in a tenth of the time (--cold-reloads: in all of it). --load-at-register: POST /v1/load_lora_adapter loads too, as
            newer builds do. --loaded-metric: vllm:lora_adapter_loaded. --no-metrics: 404.
            --also-started: a further sample of the start time, behind the true one.
  sglang    --slots is --max-loras-per-batch: at most slots - 1 pinned. --no-listing: GET /v1/models
            names no adapters, as older builds do.
  both      --others: so many adapters of somebody else's in the list, in cards of vLLM's size.
  llamacpp  --slots is --parallel; --lora in order of id; a slot remembers the LoRA set it last ran.
            --no-slots-endpoint: GET /slots is turned off, as by llama-server --no-slots.
  each      --token is wanted of everyone; --echo: who gives another is told what it gave.

Only for tests: GET /stub says what it holds and did, POST /stub {"mode": ...} makes it misbehave
from then on: ok; slow (with "ms": every answer waits); hang (answers nothing until the mode
changes); error (500); load_error (500, or "status", to loads only); load_hang; unload_error (500 to
unloads only); long_metrics (/metrics of "bytes"); garbage (bytes that are no JSON, with "bytes" how
many); lie (loads answer that they succeeded, and do nothing); crash_on_load (half of a load,
half of an answer, and the process is gone); crash. {"forget": true}: vLLM's worker restarts behind
an address that stays. "count" ends a mode after as many calls.
"""
import argparse
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


def numbers_of(body, field, kind=(int, float)):
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise Refused(400, {"error": {"message": f"{field}: missing or of the wrong type",
                                      "type": "BadRequestError", "param": field, "code": 400}})
    return value


class Engine:
    """What the three have in common: what a load costs, and what was asked."""
    unauthorized = {"error": "Unauthorized"}

    def __init__(self, args):
        self.args = args
        self.lock = threading.RLock()
        self.loads = self.evictions = self.calls = 0
        self.most_resident = 0
        self.known = {}
        for one in args.adapter:
            name, path, *ms = one.split("=")
            self.known[path] = (name, float(ms[0]) if ms else args.load_ms)

    def load_ms(self, path):
        return self.known.get(path, (None, self.args.load_ms))[1]

    def there(self, path):
        return not self.args.strict_paths or path in self.known

    def spend(self, ms):
        if ms > 0:
            time.sleep(ms / 1e3)

    def others(self):
        limits = {"max_tokens": None, "allow_create_engine": False, "allow_sampling": True,
                  "allow_logprobs": True, "allow_search_indices": False, "allow_view": True,
                  "allow_fine_tuning": False, "organization": "*", "group": None,
                  "is_blocking": False}
        return [{"id": f"other-{i}", "object": "model", "created": 1700000000 + i,
                 "owned_by": "vllm", "root": f"/models/other/{i}", "parent": self.args.base,
                 "max_model_len": None,
                 "permission": [dict(limits, id=f"modelperm-{i:032x}", object="model_permission",
                                     created=1700000000 + i)]}
                for i in range(self.args.others)]


class Vllm(Engine):
    loads_at = {"/v1/load_lora_adapter", "/v1/completions"}

    def __init__(self, args):
        super().__init__(args)
        self.registered = {}  # name -> path
        self.slots = []       # names, least recently used first
        self.cpu = []
        self.running = {}
        self.started = time.time()

    def error(self, status, message, kind="BadRequestError"):
        return Refused(status, {"error": {"message": message, "type": kind, "param": None,
                                          "code": status}})

    def use(self, name, path):
        """Into a slot, at the cost of a load when it is in none. The lock is held: one at a time,
        as the engine's own step loop does it."""
        if name in self.slots:
            self.slots.remove(name)
            self.slots.append(name)
            return self.spend(self.args.touch_ms)
        warm = name in self.cpu and not self.args.cold_reloads
        self.spend(self.load_ms(path) * (.1 if warm else 1) + self.args.touch_ms)
        self.loads += 1
        if name in self.cpu:
            self.cpu.remove(name)
        self.cpu = (self.cpu + [name])[-max(self.args.cpu_slots, self.args.slots):]
        if len(self.slots) >= self.args.slots:
            self.slots.pop(0)
            self.evictions += 1
        self.slots.append(name)
        self.most_resident = max(self.most_resident, len(self.slots))

    def register(self, body):
        name, path = body.get("lora_name"), body.get("lora_path")
        if not name or not path:
            raise self.error(400, "Both 'lora_name' and 'lora_path' must be provided.",
                             "InvalidUserInput")
        if name in self.registered and not body.get("load_inplace"):
            raise self.error(400, f"The lora adapter '{name}' has already been loaded.",
                             "InvalidUserInput")
        if not self.there(path):
            raise self.error(404, f"Loading lora {name} failed: No adapter found for {path}",
                             "NotFoundError")
        self.registered[name] = path
        if self.args.load_at_register:
            self.use(name, path)
        return f"Success: LoRA adapter '{name}' added successfully."

    def unregister(self, body):
        name = body.get("lora_name")
        if not name:
            raise self.error(400, "'lora_name' needs to be provided to unload a LoRA adapter.",
                             "InvalidUserInput")
        if name not in self.registered:
            raise self.error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        del self.registered[name]  # Its weights stay until the LRU evicts them.
        return f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, body):
        name = body.get("model")
        numbers_of(body, "max_tokens", int)
        if name in self.registered:
            self.running[name] = self.running.get(name, 0) + 1
            self.use(name, self.registered[name])
            self.running[name] -= 1
        elif name != self.args.base:
            raise self.error(404, f"The model `{name}` does not exist.", "NotFoundError")
        return {"id": "cmpl-1", "object": "text_completion", "created": int(time.time()),
                "model": name, "choices": [{"index": 0, "text": "!", "logprobs": None,
                                            "finish_reason": "length"}],
                "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}}

    def models(self):
        now = int(time.time())
        rows = [{"id": self.args.base, "object": "model", "created": now, "owned_by": "vllm",
                 "root": self.args.base, "parent": None, "max_model_len": 4096}]
        rows += [{"id": n, "object": "model", "created": now, "owned_by": "vllm", "root": p,
                  "parent": self.args.base} for n, p in self.registered.items()] + self.others()
        return {"object": "list", "data": rows}

    def metrics(self):
        if self.args.no_metrics:
            raise Refused(404, {"detail": "Not Found"})
        running = ",".join(n for n, c in self.running.items() if c)
        lines = ["# HELP process_start_time_seconds Start time of the process.",
                 "# TYPE process_start_time_seconds gauge",
                 f"process_start_time_seconds {self.started:.3f}",
                 *(f"process_start_time_seconds {t}" for t in self.args.also_started),
                 "# TYPE vllm:lora_requests_info gauge",
                 # What ran once stays in the text for ever, with the time when it did.
                 'vllm:lora_requests_info{max_lora="1",running_lora_adapters="warm-up",'
                 'waiting_lora_adapters=""} %.3f' % self.started,
                 'vllm:lora_requests_info{max_lora="%d",running_lora_adapters="%s",'
                 'waiting_lora_adapters=""} %.3f' % (self.args.slots, running, time.time())]
        if self.args.loaded_metric:
            lines += ['vllm:lora_adapter_loaded{adapter_name="%s",level="gpu"} %d'
                      % (n, n in self.slots) for n in self.registered]
        return "\n".join(lines) + "\n"

    def answer(self, method, path, body):
        if method == "GET":
            return {"/v1/models": self.models, "/metrics": self.metrics}.get(path, missing)()
        return {"/v1/load_lora_adapter": self.register, "/v1/completions": self.complete,
                "/v1/unload_lora_adapter": self.unregister}.get(path, missing)(body)

    def lie(self, path, body):
        if path == "/v1/load_lora_adapter":
            return f"Success: LoRA adapter '{body.get('lora_name')}' added successfully."
        return {"choices": [{"text": "!"}]}

    def holds(self):
        return {"resident": list(self.slots), "offered": sorted(self.registered)}


class Sglang(Engine):
    loads_at = {"/load_lora_adapter"}

    def __init__(self, args):
        super().__init__(args)
        self.loaded = {}  # name -> (path, pinned)

    def result(self, success, message=""):
        return {"success": success, "error_message": message,
                "loaded_adapters": {n: p for n, (p, _) in self.loaded.items()}}

    def load(self, body):
        name, path = body.get("lora_name"), body.get("lora_path")
        pinned = bool(body.get("pinned"))
        if not name or not path:
            raise Refused(400, self.result(False, "lora_name and lora_path are needed"))
        if name in self.loaded:
            raise Refused(400, self.result(
                False, f"Failed to load LoRA adapter {name}: it is already loaded."))
        pins = sum(p for _, p in self.loaded.values())
        if pinned and pins >= self.args.slots - 1:
            raise Refused(400, self.result(
                False, f"Failed to load LoRA adapter {name} as a pinned adapter. It is not allowed "
                "to pin all slots in the LoRA memory pool to avoid starvation for unpinned adapters "
                "and base models. Please increase your `--max-loras-per-batch` or load it as "
                "unpinned LoRA adapters."))
        if not self.there(path):
            raise Refused(400, self.result(False, f"Failed to load LoRA adapter {name}: {path} "
                                                  "does not exist"))
        self.spend(self.load_ms(path))
        self.loads += 1
        self.loaded[name] = (path, pinned)
        self.most_resident = max(self.most_resident, len(self.holds()["resident"]))
        return self.result(True)

    def unload(self, body):
        name = body.get("lora_name")
        if name not in self.loaded:
            raise Refused(400, self.result(
                False, f"LoRA adapter with name {name} does not exist."))
        del self.loaded[name]
        self.evictions += 1
        return self.result(True)

    def models(self):
        rows = [{"id": self.args.base, "object": "model", "owned_by": "sglang",
                 "root": self.args.base, "parent": None}]
        if not self.args.no_listing:
            rows += [{"id": n, "object": "model", "owned_by": "sglang", "root": p,
                      "parent": self.args.base} for n, (p, _) in self.loaded.items()]
        rows += self.others()
        return {"object": "list", "data": rows}

    def answer(self, method, path, body):
        if method == "GET":
            return {"/v1/models": self.models}.get(path, missing)()
        return {"/load_lora_adapter": self.load,
                "/unload_lora_adapter": self.unload}.get(path, missing)(body)

    def lie(self, path, body):
        name = body.get("lora_name")
        return {"success": True, "error_message": "", "loaded_adapters": {name: "/" + str(name)}}

    def holds(self):
        return {"resident": sorted(n for n, (_, p) in self.loaded.items() if p),
                "offered": sorted(self.loaded)}


class LlamaCpp(Engine):
    loads_at = {"/completion"}
    unauthorized = {"error": {"code": 401, "message": "Invalid API Key",
                              "type": "authentication_error"}}

    def __init__(self, args):
        super().__init__(args)
        self.scales = [1.0 if args.apply else 0.0] * len(args.lora)
        self.ran = [None] * args.slots  # Of each slot, the ids that it ran last.
        self.sent = [None] * args.slots  # And the request's list.
        self.used = [0] * args.slots

    def error(self, message, status=400, kind="invalid_request_error"):
        return Refused(status, {"error": {"code": status, "message": message, "type": kind}})

    def list(self):
        return [{"id": i, "path": p, "scale": self.scales[i], "task_name": "",
                 "prompt_prefix": ""} for i, p in enumerate(self.args.lora)]

    def slots(self):
        if self.args.no_slots_endpoint:
            raise self.error("This server does not support slots endpoint. Start it with `--slots`",
                             501, "not_supported_error")
        rows = [{"id": i, "n_ctx": 256, "speculative": False, "is_processing": False}
                for i in range(len(self.ran))]
        for row, sent in zip(rows, self.sent):
            if sent is not None:
                row.update(id_task=1, n_prompt_tokens=1, params={
                    "n_predict": 1, "lora": [{"id": i, "scale": s} for i, s in sent.items()]})
        return rows

    def props(self):
        return {"total_slots": len(self.ran), "is_sleeping": False, "build_info": "stub"}

    def pairs(self, rows):
        """Nothing in it is checked; ids that there are not do nothing."""
        got = {}
        for row in rows:
            i, scale = row.get("id", -1), row.get("scale", 0)
            got[i if isinstance(i, int) else -1] = float(
                scale if isinstance(scale, (int, float)) else 0)
        return got

    def apply(self, rows):
        if not isinstance(rows, list):
            raise self.error("Request body must be an array")
        got = self.pairs(rows)
        self.scales = [got.get(i, 0.0) for i in range(len(self.scales))]
        return {"success": True}

    def complete(self, body):
        slot = body.get("id_slot", -1)
        if slot < 0:  # The one that is idle longest.
            slot = min(range(len(self.ran)), key=self.used.__getitem__)
        slot %= len(self.ran)
        got = self.pairs(body.get("lora", []))
        # Without a list, or with an empty one, what is the default runs.
        chosen = frozenset(i for i in range(len(self.scales))
                           if (got.get(i, 0.0) if got else self.scales[i]) != 0)
        self.sent[slot] = got
        self.used[slot] = max(self.used) + 1
        if self.ran[slot] != chosen:
            ms = max((self.load_ms(self.args.lora[i]) for i in chosen), default=0)
            self.spend(ms)
            self.loads += 1
            self.evictions += self.ran[slot] is not None
            self.ran[slot] = chosen
        self.spend(self.args.touch_ms)
        return {"index": 0, "content": "!", "id_slot": slot, "stop": True, "tokens_predicted": 1,
                "timings": {"prompt_n": 1, "prompt_ms": 1.0}}

    def answer(self, method, path, body):
        if method == "GET":
            return {"/lora-adapters": self.list, "/slots": self.slots,
                    "/props": self.props}.get(path, missing)()
        return {"/lora-adapters": self.apply, "/completion": self.complete}.get(
            path, missing)(body)

    def lie(self, path, body):
        return {"content": "!", "id_slot": body.get("id_slot", 0)}

    def holds(self):
        """By the file's stem, in order of slot; a slot that ran none, or several, is skipped."""
        names = [os.path.splitext(os.path.basename(self.args.lora[min(s)]))[0]
                 for s in self.ran if s and len(s) == 1]
        return {"resident": names, "offered": sorted(
            os.path.splitext(os.path.basename(p))[0] for p in self.args.lora)}


def missing(*_):
    raise Refused(404, {"detail": "Not Found"})


class Mode:
    """How it misbehaves, and for how many calls."""

    def __init__(self):
        self.lock = threading.Condition()
        self.spec, self.left = {"mode": "ok"}, None

    def set(self, spec):
        with self.lock:
            self.spec, self.left = spec, spec.get("count")
            self.lock.notify_all()

    of_some = {"load_error": "load", "load_hang": "load", "crash_on_load": "load", "lie": "load",
               "unload_error": "unload", "long_metrics": "metrics"}

    def take(self, kind):
        """The mode of this call; counted where it does something."""
        with self.lock:
            spec = self.spec
            if self.of_some.get(spec["mode"], kind) != kind:
                return {"mode": "ok"}
            if self.left is not None and spec["mode"] != "ok":
                self.left -= 1
                if self.left <= 0:
                    self.spec, self.left = {"mode": "ok"}, None
            return spec

    def wait(self, spec):
        with self.lock:
            self.lock.wait_for(lambda: self.spec is not spec)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine = mode = None
    token = None
    echo = False

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind=None):
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        data = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Type", kind or ("text/plain; charset=utf-8" if isinstance(
            body, (str, bytes)) else "application/json"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stub(self, method, body):
        e = self.engine
        if method == "POST":
            if body.get("mode") == "crash":
                os._exit(9)
            if body.get("forget"):
                with e.lock:
                    e.slots, e.started = [], time.time()
            elif body.get("use"):  # A client's request, for the memory's sake.
                with e.lock:
                    e.use(body["use"], e.registered[body["use"]])
            elif body.get("complete"):  # The same, to llama.cpp, as it was sent.
                with e.lock:
                    e.complete(body["complete"])
            else:
                self.mode.set(body)
        with e.lock:
            self.reply(200, dict(e.holds(), loads=e.loads, evictions=e.evictions, calls=e.calls,
                                 most_resident=e.most_resident))

    def misbehave(self, spec):
        """True: answered already."""
        mode = spec["mode"]
        if mode == "slow":
            time.sleep(spec.get("ms", 100) / 1e3)
        elif mode in ("hang", "load_hang"):
            self.mode.wait(spec)
        elif mode in ("error", "load_error", "unload_error"):
            status = spec.get("status", 500)
            self.reply(status, {"error": {"message": "Internal Server Error", "type":
                                          "InternalServerError", "param": None, "code": status}})
            return True
        elif mode == "long_metrics":
            line = b'vllm:lora_requests_info{max_lora="9",running_lora_adapters=""} 1.0\n'
            try:
                self.reply(200, line * (spec["bytes"] // len(line) + 1))
            except OSError:
                self.close_connection = True
            return True
        elif mode == "garbage":
            data = b"\x00\xff{[\"}garbage\n" * (spec.get("bytes", 4096) // 14 + 1)
            try:
                self.reply(200, data, "application/json")
            except OSError:
                self.close_connection = True  # The reader had enough.
            return True
        return False

    def serve(self, method):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b"{}"
        try:
            body = json.loads(raw)
        except ValueError:
            return self.reply(400, {"detail": "There was an error parsing the body"})
        if self.path == "/stub":
            return self.stub(method, body)
        e = self.engine
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            gave = {"error": "no right to that: " + str(self.headers.get("Authorization"))}
            return self.reply(401, gave if self.echo else e.unauthorized)
        kind = ("load" if method == "POST" and self.path in e.loads_at else
                "unload" if self.path.endswith("/unload_lora_adapter") else
                "metrics" if self.path == "/metrics" else "other")
        spec = self.mode.take(kind)
        if self.misbehave(spec):
            return None
        with e.lock:
            e.calls += 1
            if spec["mode"] == "crash_on_load":
                time.sleep(.01)
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"succ")
                self.wfile.flush()
                os._exit(9)
            try:
                answer = (e.lie(self.path, body) if spec["mode"] == "lie"
                          else e.answer(method, self.path, body))
            except Refused as refused:
                return self.reply(refused.status, refused.body)
        return self.reply(200, answer)

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def handle_error(self, request, client_address):
        pass  # Clients go away; that is what some tests are about.


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("kind", choices=("vllm", "sglang", "llamacpp"))
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--slots", type=int, default=3)
    p.add_argument("--cpu-slots", type=int, default=0)
    p.add_argument("--cold-reloads", action="store_true")
    p.add_argument("--load-ms", type=float, default=0)
    p.add_argument("--touch-ms", type=float, default=0)
    p.add_argument("--base", default="base")
    p.add_argument("--adapter", action="append", default=[])
    p.add_argument("--strict-paths", action="store_true")
    p.add_argument("--lora", action="append", default=[])
    p.add_argument("--apply", action="store_true", help="llamacpp: scales are 1 at the start")
    p.add_argument("--token")
    p.add_argument("--load-at-register", action="store_true")
    p.add_argument("--loaded-metric", action="store_true")
    p.add_argument("--no-metrics", action="store_true")
    p.add_argument("--no-listing", action="store_true")
    p.add_argument("--no-slots-endpoint", action="store_true")
    p.add_argument("--also-started", action="append", default=[])
    p.add_argument("--others", type=int, default=0)
    p.add_argument("--echo", action="store_true")
    return p.parse_args()


def main():
    args = arguments()
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the test.
    if os.getppid() != parent:
        sys.exit(1)
    Handler.engine = {"vllm": Vllm, "sglang": Sglang, "llamacpp": LlamaCpp}[args.kind](args)
    Handler.mode, Handler.token, Handler.echo = Mode(), args.token, args.echo
    server = Server(("127.0.0.1", args.port), Handler)
    print(f"port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
