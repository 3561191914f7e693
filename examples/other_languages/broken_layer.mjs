// The broken twin of layer.mjs, for comparison: two processes that read the same version both create the next.
// node broken_layer.mjs FOLDER

import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { serve } from "./lines.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });

const fileOf = (key, version) => join(folder, `${createHash("sha256").update(key).digest("hex")}-${version}`);

// Return the number of versions of a key, and its record: null for none.
function latest(key) {
  let record = null;
  for (let version = 0; ; version += 1) {
    try {
      record = JSON.parse(readFileSync(fileOf(key, version + 1), "utf8"));
    } catch (error) {
      if (error.code === "ENOENT") return { version, record };
      throw error;
    }
  }
}

// Create a version. The fault: it replaces a version that another process has created since the read.
function create(file, record) {
  const temporary = `${file}-${randomUUID()}`;
  writeFileSync(temporary, JSON.stringify(record));
  renameSync(temporary, file);
  return true;
}

const VERSION = ["owner", "status", "expiry", "lease"];
const sameVersion = (a, b) => (a === null || b === null ? a === b : VERSION.every((name) => a[name] === b[name]));

async function load({ key }, step) {
  await step(`read ${key}`);
  return latest(key).record;
}

async function swap({ key, expected, new: wanted }, step) {
  for (;;) {
    await step(`read ${key}`);
    const { version, record } = latest(key);
    if (!sameVersion(record, expected)) return record;
    await step(`create version ${version + 1} of ${key}`);
    if (create(fileOf(key, version + 1), wanted)) return wanted;
    // Another process was faster: read again.
  }
}

serve({ name: "numbered files", claims: { durable: true }, load, swap });
