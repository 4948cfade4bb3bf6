"""A hub for tests: answers as huggingface.co does, and misbehaves on request.

Large files lie on a second server with a port of its own, as on the hub's storage: its address is
given in a redirect, and who sends it a token has made a mistake.
"""

import hashlib
import http.server
import json
import threading
import time
import urllib.parse


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    def __init__(self, files, large=(), commit="1" * 40, needs_token=None, gated=False):
        self.files, self.large, self.commit = dict(files), set(large), commit
        self.needs_token, self.gated = needs_token, gated
        self.revisions = {"main": commit, commit: commit}
        self.siblings = None  # other names to list

    def hash_of(self, name):
        content = self.files[name]
        return hashlib.sha256(content).hexdigest() if name in self.large else git_hash(content)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        headers = dict(headers)
        headers.setdefault("Content-Length", len(body))
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code="", message="", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if code:
            headers["X-Error-Code"] = code
        if message:
            headers["X-Error-Message"] = message
        self.reply(status, headers)

    def answer(self):
        hub = self.server.hub
        address = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(address.path)
        with hub.lock:
            hub.requests.append((self.server.role, self.command, path,
                                 {k.lower(): v for k, v in self.headers.items()}))
            faults = hub.faults.get((self.server.role, self.command, path.rsplit("/", 1)[-1]))
            fault = faults.pop(0) if faults else None
        try:
            if fault is not None and fault(self):
                return
            if self.server.role == "storage":
                self.send_content(hub.stored[path.rsplit("/", 1)[-1]])
            else:
                self.answer_hub(hub, path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer_hub(self, hub, path):
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 6:
            repository = self.repository(hub, "/".join(parts[2:4]))
            if repository:
                self.answer_api(repository, "/".join(parts[2:4]), parts[4], path.split("/", 6)[6])
        elif len(parts) >= 5 and parts[2] == "resolve":
            repository = self.repository(hub, "/".join(parts[:2]))
            if repository:
                self.answer_file(hub, repository, parts[3], "/".join(parts[4:]))
        else:
            self.refuse(404)

    def repository(self, hub, name):
        repository = hub.repositories.get(name)
        sent = self.headers.get("Authorization", "")
        if repository is None:
            self.refuse(404 if sent else 401, "RepoNotFound", "Repository not found")
        elif repository.needs_token and sent != f"Bearer {repository.needs_token}":
            if repository.gated:
                self.refuse(403 if sent else 401, "GatedRepo", "Access to model is restricted")
            else:
                self.refuse(401, "RepoNotFound", "Invalid username or password.")
        else:
            return repository
        return None

    def answer_api(self, repository, name, what, revision):
        commit = repository.revisions.get(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "tree":
            body = [{"type": "file", "path": file, "size": len(content), "oid": git_hash(content),
                     **({"lfs": {"oid": repository.hash_of(file), "size": len(content),
                                 "pointerSize": 134}} if file in repository.large else {})}
                    for file, content in repository.files.items()]
        else:
            files = repository.siblings or sorted(repository.files)
            body = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": False,
                    "downloads": 0, "likes": 0, "tags": [],
                    "siblings": [{"rfilename": file} for file in files]}
        return self.reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def answer_file(self, hub, repository, revision, name):
        commit = repository.revisions.get(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        if name not in repository.files:
            return self.refuse(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit)
        content, hash_ = repository.files[name], repository.hash_of(name)
        if name not in repository.large:
            return self.send_content(content, {"X-Repo-Commit": commit, "ETag": f'"{hash_}"'})
        with hub.lock:
            hub.stored[hash_] = content
        return self.reply(302, {"X-Repo-Commit": commit, "X-Linked-Size": len(content),
                                "X-Linked-Etag": f'"{hash_}"', "ETag": '"of-the-redirect"',
                                "Location": f"{hub.storage}/store/{hash_}?signature=secret"})

    def send_content(self, content, headers=()):
        headers = dict(headers, **{"Accept-Ranges": "bytes"})
        wanted = self.headers.get("Range")
        if not wanted:
            return self.reply(200, headers, content)
        first = int(wanted.removeprefix("bytes=").split("-")[0])
        if first >= len(content):
            return self.reply(416, {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return self.reply(206, headers, content[first:])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that go away are part of the tests."""


class Hub:
    """`faults[role, method, last part of the path]`: a list of what is done, one a request, before
    or instead of the answer; such a function takes the handler, and says whether it has answered."""

    def __init__(self, tls=None):
        self.repositories, self.stored, self.faults, self.requests = {}, {}, {}, []
        self.lock = threading.Lock()
        self.servers = []
        self.endpoint = self.start("hub", tls)
        self.storage = self.start("storage", tls)

    def start(self, role, tls=None):
        server = Server(("127.0.0.1", 0), Handler)
        server.hub, server.role = self, role
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.servers.append(server)
        return f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, name, *arguments, **options):
        self.repositories[name] = Repository(*arguments, **options)
        return self.repositories[name]

    def fail(self, role, method, file, *faults):
        self.faults[role, method, file] = list(faults)

    def asked(self, role, method=None, file=None):
        return [r for r in self.requests if r[0] == role and method in (None, r[1])
                and (file is None or r[2].endswith(file))]


# --- What can go wrong ---

def status(number, **headers):
    def fault(handler):
        handler.refuse(number, **headers)
        return True
    return fault


def redirect(location, code=302, **headers):
    def fault(handler):
        handler.reply(code, {"Location": location, **{k.replace("_", "-"): v
                                                      for k, v in headers.items()}})
        return True
    return fault


def broken_off(share):
    """The connection ends after this share of what would have come."""
    def fault(handler):
        write = handler.wfile.write
        state = {"header": True}

        def some(data):
            if state.pop("header", False):
                return write(data)
            write(data[:int(len(data) * share)])
            handler.wfile.flush()
            handler.connection.close()
            raise BrokenPipeError
        handler.wfile.write = some
        return False
    return fault


def content(change, keep_length=False):
    """Other bytes than those announced."""
    def fault(handler):
        send = handler.reply

        def changed(code, headers=(), body=b""):
            handler.reply = send
            length = {"Content-Length": len(body)} if keep_length else {}
            send(code, {**dict(headers), **length}, change(body))
        handler.reply = changed
        return False
    return fault


def answer(code, headers=(), body=b""):
    def fault(handler):
        handler.reply(code, headers, body)
        return True
    return fault


def no_ranges(handler):
    del handler.headers["Range"]
    return False


def slow(seconds):
    def fault(_):
        time.sleep(seconds)
        return False
    return fault
