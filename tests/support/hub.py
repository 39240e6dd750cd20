"""A hub of models on this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub:
    """As much of the hub's API as its client needs for one model, on 127.0.0.1."""

    def __init__(self, listing):
        self.listing = listing
        self.asked = []
        self.out_of_order = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def fetched(self):
        """The paths of the files that were given away, with repeats."""
        start = f"GET /org/tiny/resolve/{COMMIT}/"
        return [line.removeprefix(start) for line in self.asked if line.startswith(start)]

    def answer(self, request):
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        siblings = [{"rfilename": path} for path in self.listing]
        if any(path.endswith(end) for end in self.out_of_order):
            self.send(request, "", 501)  # unlike other failures, the client does not try it again
        elif path in (f"/api/models/org/tiny/revision/{name}" for name in ("main", COMMIT)):
            self.send(request, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}))
        elif path == f"/api/models/org/tiny/tree/{COMMIT}":
            listing = [
                {"type": "file", "path": path, "size": len(data), "oid": sha256(data)[:40]}
                for path, data in self.listing.items()
            ]
            self.send(request, json.dumps(listing))
        elif name in self.listing:
            data = self.listing[name]
            etag = {"ETag": f'"{sha256(data)[:40]}"', "X-Repo-Commit": COMMIT}
            self.send(request, data, headers=etag)
        else:
            self.send(request, "", 404, {"X-Error-Code": "RepoNotFound"})

    def send(self, request, data, status=200, headers=None):
        data = data.encode() if isinstance(data, str) else data
        request.send_response(status)
        for name, value in {"Content-Length": len(data), **(headers or {})}.items():
            request.send_header(name, str(value))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)
