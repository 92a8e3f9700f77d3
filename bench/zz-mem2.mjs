import { encode, decode } from "@rain/protocol/codec";
import * as P from "@rain/protocol";
import { DurableState, ServerCore } from "@rain/server/core";
import v8 from "node:v8";
import fs from "node:fs";
const N = 20000;
const request = { cpus: 1, gpus: 1, memory: 0, named: {} };
const mk = (id) => ({ id, work: { type: "execute", args: ["/bin/echo", `hello ${id}`] }, inputs: [], outputs: [{ object: id, label: "stdout", kind: "blob", contentType: "", keep: false, capture: "stdout" }], request, origin: "queued.mjs:11:53" });
const c = new ServerCore({ version: "", clusterId: "", instance: "", leaseMs: 1e4, heartbeatMs: 1e3, sessionLeaseMs: 1e6, crashLimit: 3 }, new DurableState(), 0);
c.handle({ type: "client.request", connection: 1, request: { type: "session.open", req: 1, key: "kkkkkkkk", name: "n", onError: "fail", detached: true } }, 0);
for (let i = 0; i < N; i += 2000) {
  const m = { type: "submit", req: 1, session: 1, key: "submit-key"+i, part: 0, last: true, tasks: Array.from({ length: 2000 }, (_, k) => mk(i + k)), constants: [] };
  c.handle({ type: "client.request", connection: 1, request: P.clientRequest.parse(decode(encode(m))) }, 0);
}
gc(); gc();
const file = v8.writeHeapSnapshot("/tmp/prof/mem.heapsnapshot");
const s = JSON.parse(fs.readFileSync(file));
const { node_fields, node_types, edge_fields, edge_types } = s.snapshot.meta;
const nf = node_fields.length, ef = edge_fields.length;
const T = node_types[0];
const ET = edge_types[0];
const sums = new Map();
let e = 0;
for (let n = 0; n < s.nodes.length; n += nf) {
  const type = T[s.nodes[n]], name = s.strings[s.nodes[n + 1]], size = s.nodes[n + 3], ec = s.nodes[n + 4];
  let key = type;
  if (type === "object" || type === "array" || type==="hidden" || type==="object shape" || type==="code") {
    key = `${type} ${name}`;
    if (type === "object") { const props = []; for (let i = 0; i < ec; i++) { const k = e + i * ef; if (ET[s.edges[k]] === "property") props.push(s.strings[s.edges[k + 1]]); } key += " {" + props.filter((p) => p !== "__proto__").slice(0, 8).join() + "}"; }
  } else if (type.includes("string")) key = type + " " + (name.startsWith("hello") ? "hello" : name.length < 20 ? name : "long");
  const x = sums.get(key) ?? { n: 0, b: 0 }; x.n++; x.b += size; sums.set(key, x);
  e += ec * ef;
}
for (const [k, x] of [...sums].sort((a, b) => b[1].b - a[1].b).slice(0, 32)) console.log((x.b / N).toFixed(1).padStart(8), "B/task", (x.n / N).toFixed(2).padStart(7), "a task", k.slice(0, 120));
console.log(process.memoryUsage().heapUsed / N);
