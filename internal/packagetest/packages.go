package packagetest

// Nodes are packages for npm by the names of what the first examples of Node.js apps
// use.
func Nodes() []Package {
	return []Package{
		{Name: "express", Version: "5.0.0", Files: map[string]string{"index.js": `
const http = require('http');
module.exports = () => {
  const routes = {};
  return {
    get(path, handler) { routes[path] = handler; },
    listen(port) {
      return http.createServer((req, res) => {
        const url = new URL(req.url, 'http://localhost');
        const handler = routes[url.pathname];
        if (!handler) { res.statusCode = 404; return res.end('no such page'); }
        res.send = (text) => res.setHeader('content-type', 'text/html').end(String(text));
        req.query = Object.fromEntries(url.searchParams);
        handler(req, res);
      }).listen(port);
    },
  };
};
`}},
		{Name: "ws", Version: "8.0.0", Files: map[string]string{"index.js": `
const crypto = require('crypto');
const { EventEmitter } = require('events');
const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
// Text frames of up to 125 bytes, which is what tests send.
exports.WebSocketServer = class extends EventEmitter {
  constructor({ server }) {
    super();
    this.clients = new Set();
    server.on('upgrade', (req, socket) => {
      const accept = crypto.createHash('sha1').update(req.headers['sec-websocket-key'] + guid).digest('base64');
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
      const client = new EventEmitter();
      client.send = (text) => { const b = Buffer.from(text); socket.write(Buffer.concat([Buffer.from([0x81, b.length]), b])); };
      this.clients.add(client);
      socket.on('data', (d) => {
        const n = d[1] & 0x7f, mask = d.subarray(2, 6);
        client.emit('message', Buffer.from(d.subarray(6, 6 + n).map((c, i) => c ^ mask[i % 4])));
      });
      const gone = () => this.clients.delete(client);
      socket.on('close', gone).on('error', gone);
      this.emit('connection', client, req);
    });
  }
};
`}},
	}
}

// Pythons are packages for pip by the names of what the first examples of Python apps
// use.
func Pythons() []Package {
	return []Package{
		{Name: "flask", Version: "3.0.0", Files: map[string]string{"flask/__init__.py": `
import threading, urllib.parse

class _Request(threading.local):
    args = {}

request = _Request()

class Flask:
    def __init__(self, name):
        self.routes = {}

    def get(self, path):
        def keep(view):
            self.routes[path] = view
            return view
        return keep

    route = get

    def __call__(self, environ, start):
        view = self.routes.get(environ["PATH_INFO"])
        if view is None:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"no such page"]
        request.args = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        body = view().encode()
        start("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]
`}},
		{Name: "gunicorn", Version: "23.0.0", Scripts: map[string]string{"gunicorn": "gunicorn.app:run"}, Files: map[string]string{
			"gunicorn/__init__.py": "",
			"gunicorn/app.py": `
import importlib, os, sys
from wsgiref.simple_server import make_server

def run():
    sys.path.insert(0, os.getcwd())
    bind = sys.argv[sys.argv.index("--bind") + 1]
    host, port = bind.rsplit(":", 1)
    module, name = sys.argv[-1].split(":")
    make_server(host, int(port), getattr(importlib.import_module(module), name)).serve_forever()
`}},
	}
}
