// An example port: the protocol in JavaScript, written from protocol.md, and run against the vectors.
// Node 20, no packages: node run.mjs [FLAG…]. A port without a feature names its flag: the cases are left out.

import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

// The record. null is the absence of a record, and of any field of it.

const deadline = (r) => (r.status === "INPROGRESS" && r.lease !== null ? r.lease : r.expiry * 1000);
const claimable = (r, now) => r === null || now >= deadline(r);
const holds = (r, owner) => r !== null && owner !== null && r.status === "INPROGRESS" && r.owner === owner;
const ceilSeconds = (milliseconds) => Math.ceil(milliseconds / 1000);
const hashesDiffer = (r, e) =>
  r.payload_hash !== null && e.payload_hash !== null && r.payload_hash !== e.payload_hash;

function isOwnResult(r, e) {
  const own = r !== null && r.status === "COMPLETED" && e.owner !== null && r.owner === e.owner;
  return own && r.response === e.response;
}

const completedAlike = (r, e) => r.status === "COMPLETED" && !hashesDiffer(r, e);
const isOver = (r, e, now) => r !== null && claimable(r, now) && now >= r.expiry * 1000;

// What follows: the record that stands afterwards, and the outcome.

const unchanged = (kind, fields = () => ({})) => (r, e, now) => [r, { kind, ...fields(r, now) }];
const withRecord = (r) => ({ record: r });
const untilDeadline = (r, now) => ({ record: r, retry_after: deadline(r) - now });

function claim(r, e) {
  const requested = e.lease === null ? e.expiry : Math.max(e.expiry, ceilSeconds(e.lease));
  const expiry = e.policy && r !== null && r.status === "INPROGRESS" ? Math.max(requested, r.expiry) : requested;
  const { owner, lease, payload_hash } = e;
  const record = { status: "INPROGRESS", expiry, lease, response: null, payload_hash, owner };
  return [record, { kind: "Claimed", record, took_over: r }];
}

function ask(r, e) {
  const [record, outcome] = claim(r, e);
  return [record, { ...outcome, asks: true }];
}

function abandon(r, e, now) {
  const record = claimable(r, now) ? r : { ...r, lease: now };
  return [record, { kind: "Abandoned", record }];
}

function complete(r, e) {
  const { owner, expiry, response, payload_hash } = e;
  const record = { status: "COMPLETED", expiry, lease: null, response, payload_hash, owner };
  return [record, { kind: "Completed", record }];
}

function renew(r, e) {
  const lease = Math.max(deadline(r), e.lease);
  const record = { ...r, lease, expiry: Math.max(r.expiry, ceilSeconds(lease)) };
  return [record, { kind: "Renewed", record }];
}

// The table of protocol.md. The first row of the event's kind whose condition holds decides.

const always = () => true;
const executionOf = (owner) => (owner ?? "").match(/^durable:(.+)\/[^/]+$/s)?.[1];
const ofOwnExecution = (r, e) =>
  r.status === "INPROGRESS" && executionOf(e.owner) !== undefined && executionOf(r.owner) === executionOf(e.owner);
const resume = (r, e) => {
  const record = { ...r, owner: e.owner };
  return [record, { kind: "Claimed", record, took_over: null }];
};
const held = (r, e) => holds(r, e.owner);
const isFree = (r, e, now) => r === null || !e.policy || r.status === "COMPLETED" || r.expiry * 1000 <= now || held(r, e);
const TABLE = [
  ["ROW-1", "Claim", (r, e, now) => claimable(r, now) && isFree(r, e, now), claim],
  ["ROW-2", "Claim", held, unchanged("Claimed", (r) => ({ record: r, took_over: null }))],
  ["ROW-3", "Claim", hashesDiffer, unchanged("PayloadMismatch", withRecord)],
  ["ROW-17", "Claim", (r, e, now) => e.policy === "refuse" && claimable(r, now), unchanged("UnknownOutcome", withRecord)],
  ["ROW-18", "Claim", (r, e, now) => e.policy === "ask" && claimable(r, now), ask],
  ["ROW-16", "Claim", ofOwnExecution, resume],
  ["ROW-4", "Claim", (r) => r.status === "INPROGRESS", unchanged("InProgress", untilDeadline)],
  ["ROW-5", "Claim", always, unchanged("Replay", withRecord)],
  ["ROW-6", "Complete", isOwnResult, unchanged("Completed", withRecord)],
  ["ROW-7", "Complete", (r, e, now) => holds(r, e.owner) || claimable(r, now), complete],
  ["ROW-8", "Complete", completedAlike, unchanged("Superseded", withRecord)],
  ["ROW-9", "Complete", always, unchanged("LeaseLost", withRecord)],
  ["ROW-21", "CompleteWithin", isOwnResult, unchanged("Completed", withRecord)],
  ["ROW-22", "CompleteWithin", held, complete],
  ["ROW-23", "CompleteWithin", always, unchanged("LeaseLost", withRecord)],
  ["ROW-10", "Release", held, () => [null, { kind: "Released" }]],
  ["ROW-11", "Release", always, unchanged("NotHeld")],
  ["ROW-19", "Abandon", held, abandon],
  ["ROW-20", "Abandon", always, unchanged("NotHeld")],
  ["ROW-12", "Renew", held, renew],
  ["ROW-13", "Renew", always, unchanged("LeaseLost", withRecord)],
  ["ROW-14", "Evict", isOver, () => [null, { kind: "Evicted" }]],
  ["ROW-15", "Evict", always, unchanged("Kept")],
];

function transition(record, event, now) {
  const [, , , then] = TABLE.find(([, kind, when]) => kind === event.kind && when(record, event, now));
  return then(record, event, now);
}

// Reading what a store gave: a record, or an error if it is corrupt.

function read(stored, asked) {
  const text = (field) => {
    if (stored[field] !== null && typeof stored[field] !== "string") throw new Error(`${field} is no text`);
    return stored[field] || null;
  };
  const { key, status, expiry, lease } = stored;
  if (!["INPROGRESS", "COMPLETED"].includes(status)) throw new Error("unknown status");
  if (key !== asked) throw new Error("the record of another key");
  if (!Number.isInteger(expiry)) throw new Error("the expiry is no whole number");
  if (lease !== null && !Number.isInteger(lease)) throw new Error("the lease is no whole number");
  const texts = ["response", "payload_hash", "owner"].map((field) => [field, text(field)]);
  return { key, status, expiry, lease, ...Object.fromEntries(texts) };
}

// Keys: canonical JSON as Python's json.dumps(value, sort_keys=True) writes it, and its hash.

class Numeral {
  constructor(text) {
    this.text = text;
  }
}

// JSON.parse forgets how a number was written, so numbers are put into objects before it sees them.
const NUMERAL = "\u0000numeral";
const PARTS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
function parse(json) {
  const marked = json.replace(PARTS, (part) =>
    part.startsWith('"') ? part : JSON.stringify({ [NUMERAL]: part }));
  return JSON.parse(marked, (name, value) =>
    value !== null && Object.hasOwn(value, NUMERAL) ? new Numeral(value[NUMERAL]) : value);
}

// JavaScript and Python agree on the digits of a double, not on when to write an exponent.
function spellNumber(text) {
  if (/^-?\d+$/.test(text)) return BigInt(text).toString();
  const number = Number(text);
  if (number === 0) return Object.is(number, -0) ? "-0.0" : "0.0";
  const [digits, exponent] = number.toExponential().split("e");
  if (exponent < -4 || exponent >= 16) {
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }
  return Number.isInteger(number) ? `${number}.0` : `${number}`;
}

const escapeRest = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
const spellText = (text) => JSON.stringify(text).replace(/[\u007f-\uffff]/g, escapeRest);

function byCodePoints([a], [b]) {
  const [left, right] = [Array.from(a, (c) => c.codePointAt(0)), Array.from(b, (c) => c.codePointAt(0))];
  const at = left.findIndex((point, index) => point !== right[index]);
  return at < 0 ? left.length - right.length : left[at] - (right[at] ?? -1);
}

function canonical(value) {
  if (value instanceof Numeral) return spellNumber(value.text);
  if (typeof value === "string") return spellText(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(", ")}]`;
  if (value === null || typeof value === "boolean") return String(value);
  const members = Object.entries(value).sort(byCodePoints);
  return `{${members.map(([name, member]) => `${spellText(name)}: ${canonical(member)}`).join(", ")}}`;
}

function isMissing(value) {
  if (value === null || value === "") return true;
  if (typeof value !== "object" || value instanceof Numeral) return false;
  return Object.values(value).every((member) => member === null);
}

const ALGORITHMS = { sha3_256: "sha3-256", blake2b: "blake2b512", blake2s: "blake2s256" };
const digest = (text, { hash_function: name, hash_secret: secret }) => {
  const algorithm = ALGORITHMS[name] ?? name;
  const hash = secret === null ? createHash(algorithm) : createHmac(algorithm, secret);
  return hash.update(text, "utf8").digest("hex");
};

// The vectors.

const load = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));

function expectSame(what, found, expected) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  }
}

function runTrace({ steps }) {
  let record = null;
  steps.forEach(({ now, event, row, record: after, outcome }, index) => {
    const [next, reply] = transition(record, event, now);
    expectSame(`step ${index + 1} (${row}): the record`, next, after);
    expectSame(`step ${index + 1} (${row}): the outcome`, reply, outcome);
    record = next;
  });
}

function runReading({ asked, stored, record }) {
  let found = null;
  try {
    found = read(stored, asked);
  } catch (corrupt) {
    if (record !== null) throw corrupt;
  }
  expectSame("what is read", found, record);
}

// JMESPath is not here: of a case with an expression, only what follows the selection is checked.
function runKey(vector) {
  if (vector.expression === null) {
    const payload = parse(vector.payload);
    expectSame("the result", isMissing(payload) ? "missing" : "key", vector.result);
    if (vector.result === "key") expectSame("the text", canonical(payload), vector.key_text);
  }
  if (vector.result !== "key") return;
  const names = [vector.service, vector.lambda_name].filter((name) => name !== null);
  const host = names.length === 0 ? "test-func" : names.join(".");
  const prefix = vector.key_prefix || `${host}.${vector.function}`;
  expectSame("the key", `${prefix}#${digest(vector.key_text, vector)}`, vector.key);
  const payloadHash = vector.payload_text === null ? null : digest(vector.payload_text, vector);
  expectSame("the payload hash", payloadHash, vector.payload_hash);
}

function failures(vectors, run) {
  const failed = vectors.filter((vector) => {
    try {
      run(vector);
      return false;
    } catch (error) {
      console.log(`${vector.id}: ${error.message} (${vector.why})`);
      return true;
    }
  });
  return failed.length;
}

const transitionFile = load("transition.json");
const keyFile = load("keys.json");
const leftOut = process.argv.slice(2);
const unknown = leftOut.find((flag) => ![transitionFile, keyFile].some(({ flags }) => flag in flags));
if (unknown !== undefined) {
  console.error(`There is no flag ${unknown}.`);
  process.exit(2);
}
const supported = (vectors) => vectors.filter(({ flags }) => !flags.some((flag) => leftOut.includes(flag)));
const cases = supported(transitionFile.cases);
const readings = supported(transitionFile.readings);
const keys = supported(keyFile.cases);
const failed = failures(cases, runTrace) + failures(readings, runReading) + failures(keys, runKey);
const all = cases.length + readings.length + keys.length;
const selected = keys.filter((vector) => vector.expression !== null).map((vector) => vector.id);
if (selected.length > 0) console.log(`without the JMESPath selection: ${selected.join(" ")}`);
console.log(`${all - failed} of ${all}`);
process.exitCode = failed ? 1 : 0;
