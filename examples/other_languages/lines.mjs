// The protocol of lines for a layer in JavaScript: requests arrive on stdin, answers leave on stdout.
// Node 20, no packages.

import { createInterface } from "node:readline";

// An error of the store. `kind`: transient (it may pass), final, too_large or config.
export class StoreError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

// Serve a layer until stdin is closed. `load` and `swap` await `step("…")` before each request to their store,
// so that the suite can interleave the steps of several clients, and let one fail.
export function serve({ name, claims, load, swap }) {
  const waiting = new Map(); // the requests that wait at a step, by id
  const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

  const stepOf = (id) => (step) =>
    new Promise((go, fail) => {
      waiting.set(id, { go, fail: () => fail(new StoreError("transient", `failed: ${step}`)) });
      say({ id, step });
    });

  async function answer({ id, method, ...request }) {
    try {
      const record = await { load, swap }[method](request, stepOf(id));
      say({ id, record });
    } catch (error) {
      say({ id, error: { kind: error.kind ?? "transient", message: error.message } });
    }
  }

  say({ idemproof: 1, layer: name, steps: true, claims });
  createInterface({ input: process.stdin }).on("line", (line) => {
    const request = JSON.parse(line);
    const paused = waiting.get(request.id);
    if (paused === undefined) return void answer(request);
    waiting.delete(request.id);
    paused[request.method](); // go or fail
  });
}
