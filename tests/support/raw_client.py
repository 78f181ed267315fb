"""A client of HTTP/1.1 over a bare socket, for tests that stop reading, go away or send nonsense."""
import json
import socket
import ssl
import struct


def frame(body, path="/v1/chat/completions", method="POST", headers=None):
    """The bytes of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(data)}",
             *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


class Client:
    """One connection. Nothing is read before it is asked for."""

    def __init__(self, port, timeout=60, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:  # before the connection: its window depends on it
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)
        return self

    def ask(self, body, path="/v1/chat/completions", headers=None):
        return self.send(frame(body, path, headers=headers))

    def _more(self, size=65536):
        data = self.socket.recv(size)
        if not data:
            raise EOFError(self.buffer[-200:])
        self.buffer += data

    def head(self):
        """(status, headers) of the next response."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), self.headers

    def body(self):
        """The rest of a response, read whole; of a chunked one too."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return b"".join(self.chunks())
        while len(self.buffer) < int(self.headers.get("content-length", 0)):
            self._more()
        size = int(self.headers.get("content-length", 0))
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def chunks(self, step=65536):
        """The pieces of a chunked body as they come, at most `step` bytes read at once."""
        while True:
            while b"\r\n" not in self.buffer:
                self._more(step)
            line, self.buffer = self.buffer.split(b"\r\n", 1)
            size = int(line, 16)
            while len(self.buffer) < size + 2:
                self._more(step)
            data, self.buffer = self.buffer[:size], self.buffer[size + 2:]
            if size == 0:
                return
            yield data

    def closed(self):
        """True once the server has ended the connection; reads what still comes."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def fin(self):
        self.socket.close()

    def rst(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def events(body):
    """JSON of the events of a whole stream, and whether it ended with [DONE]."""
    out, done = [], False
    for event in body.decode().split("\n\n"):
        for line in event.split("\n"):
            if line.startswith("data: "):
                assert not done, "events after [DONE]"
                if line == "data: [DONE]":
                    done = True
                else:
                    out.append(json.loads(line[6:]))
    return out, done


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
