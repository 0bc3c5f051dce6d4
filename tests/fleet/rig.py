# SPDX-License-Identifier: Apache-2.0
"""
What the tests of fleets share: a folder that goes away, a pandod of its own with a golden image
in it, the command line, TAP.  A test is a function; its docstring is its name in the output.
"""
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
PANDO = os.environ.get("PANDO", os.path.join(BUILD, "pando"))
PANDOD = os.environ.get("PANDOD", os.path.join(BUILD, "pandod"))
MIB = 1 << 20
GIB = 1 << 30
T = None
TESTS = []
GOLDEN = "vms:/golden/debian12.raw"


def test(fn):
    TESTS.append(fn)
    return fn


def path(name):
    return os.path.join(T, name)


def write(name, text):
    with open(path(name), "w" if isinstance(text, str) else "wb") as f:
        f.write(text)
    return path(name)


def run(*cmd, timeout=120, **kw):
    return subprocess.run([str(c) for c in cmd], capture_output=True, timeout=timeout, **kw)


def pando(*args, **kw):
    return run(PANDO, *args, **kw)


def ok(*args, **kw):
    r = pando(*args, **kw)
    assert r.returncode == 0, f"pando {args}: exit {r.returncode}: {r.stderr.decode()}"
    assert not r.stderr, f"pando {args}: said {r.stderr.decode()!r}"
    return r.stdout.decode()


def ok_json(*args, **kw):
    return json.loads(ok(*args, "--json", **kw))


def refused(*args, code=1, words=(), lines=1, **kw):
    """Exit code, nothing on standard output, and one line that has WORDS."""
    r = pando(*args, **kw)
    text = r.stderr.decode()
    assert r.returncode == code, f"pando {args}: exit {r.returncode}, not {code}: {text}"
    assert not r.stdout, f"pando {args}: printed {r.stdout!r}"
    assert text.count("\n") == lines, f"not {lines} lines: {text!r}"
    for w in words:
        assert re.search(w, text, re.I), f"{w!r} is not in {text!r}"
    return text


def names(where):
    return [e["name"] for e in ok_json("ls", where)]


def stat(where):
    return ok_json("stat", where)


def exported(obj):
    out = path("exported")
    if os.path.exists(out):
        os.unlink(out)
    ok("export", obj, out)
    with open(out, "rb") as f:
        return f.read()


class UnixHTTP(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(os.environ["PANDO_SOCKET"])


def api(method, url, body=None):
    """(status, JSON)"""
    c = UnixHTTP("pandod", timeout=60)
    c.request(method, url, body if body is None else json.dumps(body))
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, json.loads(text)


class Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """
    Passes requests on, between pando and pandod.  HOOK(method, url) before each: it may wait; False breaks the
    connection, and a number is a status of HTTP with which the request fails.
    """
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            say = self.server.hook(self.command, self.path)
            if say is False:
                self.close_connection = True
                return
            if say is not True:
                self.answer(say, b'{"error": {"code": "test", "message": "the relay says no"}}')
                return
            c = UnixHTTP("pandod", timeout=60)
            c.request(self.command, self.path, body)
            r = c.getresponse()
            body = r.read()
            c.close()
            self.answer(r.status, body)

        def answer(self, status, body):
            self.wfile.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = relay

        def log_message(self, *args):
            pass

    def __init__(self, name, hook):
        self.name, self.hook = path(name), hook
        super().__init__(self.name, Relay.Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()
        os.unlink(self.name)

    def handle_error(self, *args):		# the command is gone
        pass


def begin(*args, socket=None):
    return subprocess.Popen([PANDO, "fleet", *args, *(["--socket", socket] if socket else [])],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def killed_at(n, args):
    """Whether the command came to its N-th request, at which it is killed."""
    seen, procs = [], []

    def hook(method, url):
        seen.append(f"{method} {url[:60]}")
        if len(seen) < n:
            return True
        wait(10, lambda: procs)
        procs[0].kill()
        procs[0].wait()
        return False

    with Relay("relay", hook) as relay:
        procs.append(begin(*args, socket=relay.name))
        err = procs[0].communicate(timeout=60)[1]
    assert procs[0].returncode == -9 or (procs[0].returncode == 0 and len(seen) < n), (args, seen, err)
    return procs[0].returncode == -9


class Daemon:
    def __init__(self, *args, listen="127.0.0.1:0", portmap="off"):
        self.args, self.listen, self.portmap = args, listen, portmap
        self.start()

    def start(self):
        r, w = os.pipe()
        self.log = open(path("pandod.log"), "ab")
        self.proc = subprocess.Popen(
            [PANDOD, "--pool", path("pool"), "--socket", path("socket"), "--listen", self.listen,
             "--portmap", self.portmap, "--ready-fd", str(w), *self.args], pass_fds=[w],
            stderr=self.log, stdout=self.log)
        os.close(w)
        with os.fdopen(r) as f:
            assert f.readline(), "pandod did not start: " + open(path("pandod.log")).read()[-3000:]

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        code = self.proc.wait(60)
        self.log.close()
        return code


class Libvirt:
    """
    libvirtd and virtlogd of a user's session, with all their folders in ours: beside any others
    that this machine has.  Its QEMU runs as nobody.  NAME tells several of them apart.
    """

    def __init__(self, name=""):
        self.name = name
        if os.geteuid() != 0 or run("setpriv", "--reuid=65534", "true").returncode:
            skip("libvirtd's session needs another user: run it as root")
        if not shutil.which("libvirtd") or not shutil.which("virtlogd"):
            skip("libvirtd is missing")
        os.chmod(T, 0o755)
        home, run_dir = path("home" + name), path("run" + name)
        for folder in (home, run_dir):
            os.mkdir(folder, 0o700)
            os.chown(folder, 65534, 65534)
        self.home = home
        self.env = {**os.environ, "HOME": home, "XDG_RUNTIME_DIR": run_dir, "XDG_CONFIG_HOME": home,
                    "XDG_CACHE_HOME": home + "/cache", "XDG_DATA_HOME": home, "TMPDIR": home}
        self.socket = run_dir + "/libvirt/libvirt-sock"
        self.virtlogd = self.spawn("virtlogd")
        self.held = None
        self.start()

    def spawn(self, name):
        with open(path(name + self.name + ".log"), "ab") as log:
            return subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", name],
                                    env=self.env, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log)

    def start(self):
        self.libvirtd = self.spawn("libvirtd")
        wait(20, lambda: self.virsh("uri").returncode == 0)

    def kill(self):
        self.libvirtd.kill()
        self.libvirtd.wait()

    def uri(self, driver="qemu", place="session"):
        return f"{driver}+unix:///{place}?socket={self.socket}"

    def virsh(self, *args, uri=None):
        return run("virsh", "-q", "-c", uri or self.uri(), *args)

    def hold(self, uri):
        """libvirt's test driver forgets everything when the last connection to it goes."""
        if self.held:
            self.held.kill()
            self.held.wait()
        self.held = subprocess.Popen(["virsh", "-q", "-c", uri], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.held.stdin.write(b"uri\n")
        self.held.stdin.flush()
        line = self.held.stdout.readline()		# the prompt, with what was typed
        line = line and self.held.stdout.readline()
        assert uri.encode() in line, (uri, line)

    def done(self):
        for name in self.virsh("list", "--name").stdout.decode().split():
            self.virsh("destroy", name)
        for p in (self.held, self.libvirtd, self.virtlogd):
            if p:
                p.kill()
                p.wait()


def wait(seconds, what):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not after {seconds} s"
        time.sleep(0.05)


def image(size=64 * MIB):
    """A golden image: some data, mostly holes."""
    name = path("golden.raw")
    with open(name, "wb") as f:
        f.write(b"golden image\n" + os.urandom(MIB))
        f.truncate(size)
    return name


def need_netns():
    """Goes on where ports 111 and 2049 are free, and nobody else comes in."""
    if os.environ.get("IN_NETNS"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for flags in ("-n", "-rn"):
        if run("unshare", flags, "true").returncode == 0:
            os.execvpe("unshare", ["unshare", flags, *sys.argv], {**os.environ, "IN_NETNS": "1"})
    skip("network namespaces are not allowed here (unshare -n)")


def skip(why):
    print("SKIP: " + why)
    sys.exit(77)


def folder(mode=0o700):
    global T
    T = tempfile.mkdtemp(prefix="pando-fleet.")
    os.chmod(T, mode)
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["PANDO_SOCKET"] = path("socket")


def main(size="4G", setup=None, done=None, **daemon):
    """Runs the tests, the chosen ones if any are named, in one pool that must check clean."""
    chosen = [t for t in TESTS if len(sys.argv) < 2 or any(n in t.__name__ for n in sys.argv[1:])]
    failed, pandod = 0, None
    if not T:
        folder()
    try:
        ok("pool", "create", path("pool"), "--size", size)
        pandod = Daemon("--cache", "32M", **daemon)
        ok("volume", "create", "vms")
        ok("mkdir", "-p", "vms:/golden")
        ok("import", image(), GOLDEN)
        if setup:
            setup()
        print(f"1..{len(chosen) + 1}", flush=True)
        for i, t in enumerate(chosen, 1):
            try:
                why = t()
                print(f"ok {i} - {t.__doc__}" + (f" # SKIP {why}" if why else ""), flush=True)
            except Exception:
                failed += 1
                print(f"not ok {i} - {t.__name__}: {t.__doc__}")
                print("#   " + traceback.format_exc().replace("\n", "\n#   "), flush=True)
        code = pandod.stop()
        good = code == 0 and pando("pool", "check", path("pool")).returncode == 0
        failed += not good
        print(f"{'' if good else 'not '}ok {len(chosen) + 1} - pandod leaves with 0 ({code}) and its "
              "pool checks clean")
    finally:
        if done:
            done()
        if pandod and pandod.proc.poll() is None:
            pandod.proc.kill()
        if failed:
            print("pandod's log ends:\n" + open(path("pandod.log")).read()[-3000:])
        if not os.environ.get("KEEP"):
            shutil.rmtree(T, ignore_errors=True)
    sys.exit(1 if failed else 0)
