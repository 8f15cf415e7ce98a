"""A small server that answers as a Hugging Face hub does, as far as numbert asks, and can fail as one fails."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"
LARGE = 2_000  # bytes; from here on a file is stored beside git, with its SHA-256
USER = "someone"  # whose the token is


@dataclass
class Hub:
    """What is on the hub, how it fails, and what it was asked.

    Attributes:
        models: the files of each model: {"owner/name": {"config.json": b"..."}}.
        gated: names of models whose files are refused.
        cut: {"file": [5, 7]}: its first answer breaks off after 5 bytes, its second after 7.
        down_after_cut: whether the file is down from its last cut on.
        down: names of files that are answered with 503.
        corrupt: names of files of which one byte is sent wrong.
        ignores_ranges: whether a request for a part is answered with the whole.
        requests: (method, path, Range header or None) of each.
        sent: how many bytes of each file were sent.
        token: the one that the hub knows; with it USER writes to models of his own.
        private: names of models that only their owner sees.
        commits: (name, message, names of files) of each.
        large: the contents of large files that were uploaded, by their SHA-256.
        full: whether the storage of large files is full.
    """

    models: dict = field(default_factory=dict)
    gated: set = field(default_factory=set)
    cut: dict = field(default_factory=dict)
    down_after_cut: bool = False
    down: set = field(default_factory=set)
    corrupt: set = field(default_factory=set)
    ignores_ranges: bool = False
    requests: list = field(default_factory=list)
    sent: Counter = field(default_factory=Counter)
    token: str = "hf_right"
    private: set = field(default_factory=set)
    commits: list = field(default_factory=list)
    large: dict = field(default_factory=dict)
    full: bool = False
    url: str = ""

    def ranges(self, filename):
        """The Range header, or None, of every request for the contents of a large file."""
        return [
            part for method, path, part in self.requests if method == "GET" and path.endswith(f"/cdn/{filename}")
        ]


@contextlib.contextmanager
def serving(hub):
    """Serves a Hub at hub.url while the body runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(name, files):
    """The answer to GET /api/models/NAME/revision/REV?blobs=true."""
    siblings = []
    for filename, content in files.items():
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"rfilename": filename, "size": len(content), "blobId": git}
        if len(content) >= LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        siblings.append(entry)
    return {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go at once
    hub: Hub

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/api/models/(.+)/revision/(.+)", path):
            name, revision = match.groups()
            if name not in self.hub.models:
                self._refuse(401, "RepoNotFound")  # as the real one does, which does not tell what is private
            elif revision not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound")
            else:
                self._answer(200, json.dumps(listing(name, self.hub.models[name])).encode())
        elif match := re.fullmatch(r"/(.+?)/(resolve/[^/]+|cdn)/(.+)", path):
            self._file(*match.groups())
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, None))
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._answer(401, b"")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(
            r"/(?:api/models/)?(.+?)(/preupload/main|/commit/main|\.git/info/lfs/.+)", path
        ):
            name, what = match.groups()
            if name not in self.hub.models:
                self._refuse(404, "RepoNotFound")
            elif what == "/preupload/main":
                self._preupload(json.loads(body))
            elif what == "/commit/main":
                self._commit(name, [json.loads(line) for line in body.splitlines()])
            else:
                self._batch(json.loads(body))
        else:
            self._refuse(404, "EntryNotFound")

    def do_PUT(self):
        """A large file, at the address that the hub has given for it."""
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, None))
        body = self._body()
        if self.hub.full:
            return self._answer(507, b"")
        assert hashlib.sha256(body).hexdigest() == path.rpartition("/")[2]
        self.hub.large[path.rpartition("/")[2]] = body
        return self._answer(200, b"")

    def _create(self, asked):
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if not name.startswith(f"{USER}/"):
            return self._answer(403, b"")
        known = name in self.hub.models
        if not known:
            self.hub.models[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
        return self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if known else 200)

    def _preupload(self, asked):
        modes = [(file["path"], "lfs" if file["size"] >= LARGE else "regular") for file in asked["files"]]
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]
        self._json({"files": files})

    def _batch(self, asked):
        objects = []
        for entry in asked["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self.hub.large:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/storage/{entry['oid']}"}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name, lines):
        header, *entries = lines
        files = {}
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.large[value["oid"]]
        self.hub.models[name] |= files
        self.hub.commits.append((name, header["value"]["summary"], sorted(files)))
        address = f"{self.hub.url}/{name}/commit/{COMMIT}"
        self._json({"success": True, "commitOid": COMMIT, "commitUrl": address})

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, value, status=200):
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, name, place, filename):
        content = self.hub.models[name][filename]
        if name in self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if filename in self.hub.down:
            return self._refuse(503, "")
        if len(content) >= LARGE and place != "cdn":
            return self._answer(302, b"", {"Location": f"/{name}/cdn/{filename}", "X-Repo-Commit": COMMIT})
        if filename in self.hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start, headers = 0, {"ETag": '"etag"', "X-Repo-Commit": COMMIT}
        if (asked := self.headers.get("Range")) and not self.hub.ignores_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
            if start >= len(content):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.cut.get(filename)
        until = cuts.pop(0) if cuts else None
        sent = self._answer(206 if "Content-Range" in headers else 200, content[start:], headers, until)
        self.hub.sent[filename] += sent
        if until is not None and not cuts and self.hub.down_after_cut:
            self.hub.down.add(filename)
        return None

    def _refuse(self, status, code):
        self._answer(status, b"", {"X-Error-Code": code})

    def _answer(self, status, body, headers=None, until=None):
        """Sends an answer, or only the first `until` bytes of its body, and gives how many were sent."""
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = b"" if self.command == "HEAD" else body[:until]
        self.wfile.write(body)
        if until is not None:
            self.close_connection = True
        return len(body)

    def log_message(self, *_):
        pass
