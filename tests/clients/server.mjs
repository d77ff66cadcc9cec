// server.mjs CERTIFICATE KEY: HTTP/2 and HTTP/1.1 over TLS on every address, port 443. Says "ready" once, closes every connection.
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const server = http2.createSecureServer({ cert, key, allowHTTP1: true }, (request, answer) => {
  if (request.httpVersion === "1.1") answer.setHeader("Connection", "close");
  answer.end(`hello over HTTP/${request.httpVersion}\n`);
});
server.listen(443, "::", () => console.log("ready"));
