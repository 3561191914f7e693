// A service in Node.js without dependencies: `node node_service.mjs FAULT PORT`. It keeps its keys in memory.
// Faults: "none", "race-window", "rounds-numbers", "forgets-status", "half-a-body".
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const [fault, port] = process.argv.slice(2);
const clients = { "Bearer alice": "alice", "Bearer alice-renewed": "alice", "Bearer bob": "bob" };
const entries = new Map();
let effects = 0;

const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function bodyOf(request) {
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    if (fault !== "half-a-body") return null;
  }
  return Buffer.concat(chunks);
}

// The text of a quoted string of RFC 8941, or null. Node joins several lines with a comma, and keeps them in rawHeaders.
function keyOf(request) {
  const names = request.rawHeaders.filter((_, index) => index % 2 === 0);
  if (names.filter((name) => name.toLowerCase() === "idempotency-key").length !== 1) return null;
  const match = /^"((?:[ !#-[\]-~]|\\["\\])+)"$/.exec(request.headers["idempotency-key"]);
  const text = match?.[1].replace(/\\(.)/g, "$1");
  return text?.trim() && text.length <= 255 ? text : null;
}

function payloadOf(request, body) {
  let content = body;
  if (fault === "rounds-numbers") {
    try {
      content = JSON.stringify(JSON.parse(body.toString()));
    } catch {
      // Another body is compared as it is.
    }
  }
  return createHash("sha256").update(`${request.method} ${request.url}\n`).update(content).digest("hex");
}

async function run(request, body) {
  if (request.method !== "POST" || !["/orders", "/refunds"].includes(request.url)) return { status: 404, body: "{}" };
  await later(10);
  effects += 1;
  const answer = { status: 201, body: JSON.stringify({ id: effects }), headers: { location: `/orders/${effects}` } };
  await later(10);
  return answer;
}

async function answer(request, body) {
  const client = clients[request.headers.authorization];
  if (!client) return { status: 401, body: "{}" };
  const key = keyOf(request);
  if (key === null) return { status: 400, body: '{"title":"one quoted key is required"}' };
  const name = JSON.stringify([client, key]);
  const payload = payloadOf(request, body);
  const known = entries.get(name);
  if (known) {
    if (known.payload !== payload) return { status: 422, body: '{"title":"another payload"}' };
    const first = await known.answer;
    return fault === "forgets-status" ? { ...first, status: 200 } : first;
  }
  const running = run(request, body);
  if (fault === "race-window") await running;
  entries.set(name, { payload, answer: running });
  return running;
}

createServer(async (request, response) => {
  if (request.url === "/effects") {
    response.end(JSON.stringify({ count: effects }));
    return;
  }
  const body = await bodyOf(request);
  if (body === null) return;
  const { status, body: text, headers } = await answer(request, body);
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(text);
}).listen(Number(port), "127.0.0.1");
