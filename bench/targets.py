"""The gateways that are compared: how each is installed, configured, started and stopped.

Every target listens on loopback, is told of the same fake upstream and gets one CPU. Nothing here measures.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadgen import KEY

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".env"
LITELLM = "litellm[proxy]==1.106.2"
FASTAPI = ["fastapi", "httpx", "uvicorn", "uvloop", "httptools"]
CHAT = "/v1/chat/completions"
LIBC = ctypes.CDLL(None)


class Unavailable(Exception):
    """The target cannot run on this machine; the message says what is missing."""


@dataclass
class Target:
    """One column of the comparison. `models` are the names to ask for fast and for paced answers."""

    name: str
    url: str
    paced_url: str = ""
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    models: tuple[str, str] = ("fake-fast", "fake-paced")
    slow: bool = False
    start_limit_s: float = 20.0
    shares: str = ""
    """Name of the target whose process serves this one too."""
    version: str = ""
    dialect: str = ""
    """Whose stream is asked for, of asking.WAYS; '' = OpenAI's, and every event counts."""


@dataclass
class Site:
    """Where one run of the benchmark lives: its scratch folder, its upstream and its CPUs."""

    folder: Path
    target_cpus: str
    load_cpus: str
    fast: int = 0
    paced: int = 0
    socket: str = ""
    pas: int = 0
    """Rolecast's port of that surface."""

    def start_upstream(self) -> subprocess.Popen:
        """Compile and start the fake model server; returns once it answers."""
        self.fast, self.paced = free_port(), free_port()
        self.socket = str(self.folder / "upstream.sock")
        argv = [sys.executable, str(HERE / "upstream.py"), "--unix", self.socket]
        argv += ["--port", str(self.fast), "--paced-port", str(self.paced)]
        process = spawn(argv, self.load_cpus, {}, self.folder / "upstream.log")
        wait_for(lambda: answers(f"http://127.0.0.1:{self.fast}/health"), process, 60, "upstream")
        return process


def all_cpus() -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_with_parent() -> None:
    """Ask Linux to end this child when the benchmark itself is killed."""
    pr_set_pdeathsig = 1
    LIBC.prctl(pr_set_pdeathsig, signal.SIGTERM)


def spawn(argv: list[str], cpus: str, env: dict[str, str], log: Path) -> subprocess.Popen:
    """Start a process in a group of its own, on the given CPUs, with its output in `log`."""
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}  # loopback only
    if shutil.which("taskset"):
        argv = ["taskset", "-c", cpus, *argv]
    with log.open("ab") as out:
        return subprocess.Popen(
            argv, env=clean | env, stdout=out, stderr=out, start_new_session=True, preexec_fn=end_with_parent
        )


def stop(process: subprocess.Popen, limit_s: float = 10) -> None:
    """End the group that `spawn` started: first politely, then whatever is left of it at once."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sig)
            os.killpg(process.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass


def answers(url: str, body: bytes | None = None, timeout_s: float = 5) -> bool:
    """Whether a request is answered with 200."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=timeout_s) as r:
            return r.status == 200
    except (urllib.error.URLError, OSError):
        return False


def chat_answers(target: Target) -> bool:
    body = {"model": target.models[0], "messages": [{"role": "user", "content": "hi"}]}
    return answers(target.url, json.dumps(body).encode())


def wait_for(ready: Callable[[], bool], process: subprocess.Popen, limit_s: float, name: str) -> float:
    """Seconds until `ready`; raises Unavailable when the process ends first or the limit passes."""
    t0 = time.perf_counter()
    while not ready():
        if process.poll() is not None:
            raise Unavailable(f"{name} ended with status {process.returncode} before its first answer")
        if time.perf_counter() - t0 > limit_s:
            raise Unavailable(f"{name} gave no healthy answer within {limit_s:.0f} s")
        time.sleep(0.005)
    return time.perf_counter() - t0


def environment(name: str, packages: list[str]) -> Path:
    """The Python of a virtual environment under bench/.env, made on first use."""
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text() == "\n".join(packages):
        return python
    print(f"installing {' '.join(packages)} into bench/.env/{name} (once) ...", flush=True)
    for argv in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1200)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            raise Unavailable(f"{name}: its packages could not be installed")
    ready.write_text("\n".join(packages))
    return python


def versions(python: Path | str, *packages: str) -> str:
    code = "import sys, importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    return subprocess.run([str(python), "-c", code, *packages], capture_output=True, text=True).stdout.strip()


def direct(site: Site) -> Target:
    return Target("direct", f"http://127.0.0.1:{site.fast}{CHAT}", f"http://127.0.0.1:{site.paced}{CHAT}")


def rolecast_config(site: Site, port: int, pas: int) -> str:
    """Twenty models behind one key; JSON is YAML, so no YAML writer is needed."""
    fast, paced = f"http://127.0.0.1:{site.fast}/v1", f"http://127.0.0.1:{site.paced}/v1"
    urls = {"fake-fast": fast, "fake-paced": paced, "fake-uds": f"unix:{site.socket}"}
    urls |= {f"other-{i}": fast for i in range(16 - len(urls))}
    common = {"backend": "openai", "parallel": 1024, "capabilities": ["chat", "completion"]}
    models = {name: common | {"url": url, "markup": "pass"} for name, url in urls.items()}
    models |= {f"heard-{name}": common | {"url": url} for name, url in (("fast", fast), ("paced", paced))}
    for name, url in (("messages-fast", fast), ("messages-paced", paced)):
        models[name] = {"backend": "anthropic", "parallel": 1024, "url": url, "key": KEY}
    listener = {"port": pas, "surface": "pas", "name": "pas"}
    config = {
        "server": {"port": port, "keys": [KEY], "listeners": [listener]},
        "models": models,
        "roles": {"standard": ["fake-fast"]},
        "storage": {"url": f"sqlite:///{site.folder / 'rolecast.db'}"},
    }
    return json.dumps(config, indent=2)


def rolecast(site: Site) -> Target:
    port, site.pas, config = free_port(), free_port(), site.folder / "rolecast.yaml"
    config.write_text(rolecast_config(site, port, site.pas))
    probe = subprocess.run(
        [sys.executable, "-c", "import rolecast; print(rolecast.__version__)"], capture_output=True, text=True
    )
    if probe.returncode:
        raise Unavailable("rolecast is not importable by this Python; install it with: pip install -e .")
    return Target(
        "rolecast",
        f"http://127.0.0.1:{port}{CHAT}",
        argv=[sys.executable, "-m", "rolecast", "up", "--config", str(config)],
        env={"ROLECAST_HOME": str(site.folder / "home")},
        version=f"rolecast {probe.stdout.strip()}, {versions(sys.executable, 'uvicorn', 'uvloop')}",
    )


def floor(site: Site) -> Target:
    """The event loop alone, doing nothing but moving bytes."""
    fast, paced = free_port(), free_port()
    return Target(
        "floor",
        f"http://127.0.0.1:{fast}{CHAT}",
        f"http://127.0.0.1:{paced}{CHAT}",
        argv=[sys.executable, str(HERE / "floor.py"), f"{fast}:{site.fast}", f"{paced}:{site.paced}"],
        version=versions(sys.executable, "uvloop"),
    )


def nginx(site: Site) -> Target:
    """One worker, keep-alive to the upstream, nothing buffered and nothing logged: nginx at its best."""
    binary = shutil.which("nginx") or install_nginx()
    fast, paced = free_port(), free_port()
    folder = site.folder / "nginx"
    folder.mkdir()
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstreams = "".join(
        f"  upstream {name} {{ server 127.0.0.1:{port}; keepalive 512; keepalive_requests 1000000000; }}\n"
        for name, port in (("fast", site.fast), ("paced", site.paced))
    )
    servers = "".join(
        f"  server {{\n    listen 127.0.0.1:{port} backlog=1024;\n    location / {{\n"
        f"      proxy_pass http://{name};\n"
        '      proxy_http_version 1.1;\n      proxy_set_header Connection "";\n'
        "      proxy_buffering off;\n    }\n  }\n"
        for name, port in (("fast", fast), ("paced", paced))
    )
    config.write_text(
        f"{user}\ndaemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\n"
        "events { worker_connections 4096; }\n"
        "http {\n  access_log off;\n  keepalive_requests 1000000000;\n  client_max_body_size 32m;\n"
        "  client_body_buffer_size 1m;\n"  # a 20 kB body must not go through a file
        f"{temporary}{upstreams}{servers}}}\n"
    )
    version = subprocess.run([binary, "-v"], capture_output=True, text=True).stderr.rpartition("/")[2].strip()
    return Target(
        "nginx",
        f"http://127.0.0.1:{fast}{CHAT}",
        f"http://127.0.0.1:{paced}{CHAT}",
        argv=[binary, "-p", str(folder), "-e", "stderr", "-c", str(config)],
        version=f"nginx {version}",
    )


def install_nginx() -> str:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing nginx-light (once) ...", flush=True)
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        argv = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "nginx-light"]
        subprocess.run(argv, capture_output=True, env=env, timeout=300)
    if binary := shutil.which("nginx"):
        return binary
    raise Unavailable("nginx is not installed; run: apt-get install nginx-light")


def litellm(site: Site) -> Target:
    """LiteLLM's proxy with its defaults and one worker."""
    python = environment("litellm", [LITELLM])
    port, config = free_port(), site.folder / "litellm.yaml"
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"http://127.0.0.1:{p}/v1",
                "api_key": "none",
            },
        }
        for name, p in (("fake-fast", site.fast), ("fake-paced", site.paced))
    ]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    command = str(python.parent / "litellm")
    return Target(
        "litellm",
        f"http://127.0.0.1:{port}{CHAT}",
        argv=[command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
        env={"PYTHONPATH": "", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # its price list stays offline
        slow=True,
        start_limit_s=180,
        version=versions(python, "litellm"),
    )


def fastapi_httpx(site: Site) -> Target:
    python, port = environment("fastapi", FASTAPI), free_port()
    bases = {
        "fake-fast": f"http://127.0.0.1:{site.fast}/v1",
        "fake-paced": f"http://127.0.0.1:{site.paced}/v1",
    }
    return Target(
        "fastapi_httpx",
        f"http://127.0.0.1:{port}{CHAT}",
        argv=[
            *(str(python), "-m", "uvicorn", "reference_fastapi:app", "--app-dir", str(HERE)),
            *("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
            "--no-access-log",
        ],
        env={"PYTHONPATH": "", "BENCH_MODELS": json.dumps(bases), "BENCH_KEY": KEY},
        slow=True,
        start_limit_s=60,
        version=versions(python, "fastapi", "httpx", "uvicorn"),
    )


def rolecast_uds(gateway: Target) -> Target:
    """The same gateway asked for the model behind the unix socket, where everything is fast."""
    return Target("rolecast_uds", gateway.url, models=("fake-uds", ""), shares="rolecast")


TABLE: dict[str, Callable[[Site], Target]] = {
    "direct": direct,
    "rolecast": rolecast,
    "floor": floor,
    "nginx": nginx,
    "fastapi_httpx": fastapi_httpx,
    "litellm": litellm,
}
NAMES = ["direct", "rolecast", "rolecast_uds", "floor", "nginx", "fastapi_httpx", "litellm"]
