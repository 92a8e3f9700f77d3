// How a server bears crowds: node scripts/crowd.mjs [--idle N] [--submits N]    (after npm run build)
// Measures submits alone, and beside 500 sockets with half a header, 1,000 silent ones, and N links that are idle.
// The full figure of 10,000 idle links takes a limit of open files (ulimit -n) of 20,000 or more.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Client } from "@rain/client";
import { serverToClient } from "@rain/protocol";
import { loadAccess } from "@rain/protocol/access";
import { connectLink } from "@rain/protocol/link";

const { values } = parseArgs({
  options: { idle: { type: "string", default: "10000" }, submits: { type: "string", default: "500" } },
});
const idle = Number(values.idle);
const submits = Number(values.submits);
const rain = fileURLToPath(new URL("../packages/cli/bin/rain.mjs", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "rain-crowd-"));
const env = { ...process.env, RAIN_HOME: home };
const run = (...words) =>
  JSON.parse(execFileSync(process.execPath, [rain, ...words, "-o", "json"], { env }).toString());

const megabytes = (pid) =>
  Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024);

/** Times of submits of one task each, sorted, milliseconds. */
async function measure(client) {
  const session = await client.newSession("", { onError: "continue" });
  const times = [];
  for (let at = 0; at < submits; at++) {
    session.execute(["true"]);
    const begin = performance.now();
    await session.submit();
    times.push(performance.now() - begin);
  }
  await session.close();
  return times.toSorted((a, b) => a - b);
}
const part = (times, share) => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(2);

/** Resolves with the longest time until the server ended one of them, seconds. */
function silent(port, count, bytes) {
  const begin = performance.now();
  const all = Array.from({ length: count }, () => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    if (bytes !== "") socket.write(bytes);
    return new Promise((resolve) => socket.on("close", () => resolve((performance.now() - begin) / 1_000)));
  });
  return Promise.all(all).then((times) => Math.max(...times));
}

let lost = 0;
async function manyLinks(access) {
  const links = [];
  const open = async () => {
    while (links.length < idle) {
      const place = links.push(undefined) - 1;
      const { url, keys, clusterId } = access;
      links[place] = await connectLink({
        url,
        role: "client",
        key: keys.client,
        clusterId,
        schema: serverToClient,
        timeoutMs: 60_000,
      });
      links[place].onClose(() => lost++);
    }
  };
  await Promise.all(Array.from({ length: 32 }, open));
  return links;
}

try {
  const started = run("start", "--local-governors=1", "--listen=127.0.0.1:0");
  const { pid } = started.server;
  const access = await loadAccess(started.accessFile);
  const port = Number(new URL(access.url).port);
  const client = await Client.connect({ accessFile: started.accessFile });
  const say = (what, times, more) =>
    console.log(
      `${what.padEnd(34)} submit p50 ${part(times, 0.5)} ms, p99 ${part(times, 0.99)} ms; server ${megabytes(pid)} MB${more}`,
    );
  await measure(client);
  say("alone", await measure(client), "");
  for (const [what, count, bytes] of [
    ["500 half headers", 500, "GET / HTTP/1.1\r\nHost: 127"],
    ["1,000 silent", 1_000, ""],
  ]) {
    const gone = silent(port, count, bytes);
    const times = await measure(client);
    say(what, times, `; all closed after ${(await gone).toFixed(1)} s`);
  }
  const links = await manyLinks(access);
  say(`${idle} idle links`, await measure(client), "");
  console.log(`${idle - lost} of ${idle} links are open`);
  await client.close();
  for (const link of links) link?.close();
} finally {
  execFileSync(process.execPath, [rain, "stop", "-o", "json"], { env });
  rmSync(home, { recursive: true, force: true });
}
