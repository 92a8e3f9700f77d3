import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import { Client, ConnectionError } from "@rain/client";
import { serverToClient } from "@rain/protocol";
import { connectLink } from "@rain/protocol/link";
import { fingerprintOf, openCertificate, type Pin } from "@rain/protocol/tls";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Peers } from "./kit.ts";

vi.setConfig({ testTimeout: 60_000 });

let peers: Peers;
beforeEach(async () => {
  peers = await Peers.make();
});
afterEach(async () => {
  await peers.stop();
});

const everywhere = { host: "0.0.0.0", port: 0 };
const refusal = async (promise: Promise<unknown>): Promise<Error & { readonly code: string }> => {
  const error: unknown = await promise.then(
    () => new Error("nothing was refused"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error) || !("code" in error)) throw error;
  return error as Error & { readonly code: string };
};
/** An access file with something changed. */
async function changed(change: object): Promise<string> {
  const path = join(peers.home, "changed.json");
  await writeFile(path, JSON.stringify({ ...(await peers.access()), ...change }), { mode: 0o600 });
  await chmod(path, 0o600);
  return path;
}
const other = (): ReturnType<typeof openCertificate> =>
  openCertificate(join(peers.home, "other.pem"), ["localhost"]);

/** What a TLS client without our code negotiates there. */
function negotiate(port: number, ca: string | undefined, maxVersion?: "TLSv1.2"): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      ...(ca === undefined ? {} : { ca }),
      ...(maxVersion === undefined ? {} : { maxVersion }),
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("secureConnect", () => {
      resolve(socket.getProtocol() ?? "");
      socket.destroy();
    });
  });
}

describe("a server that listens on all addresses", () => {
  test("speaks TLS 1.3 with the certificate of its access file only", async () => {
    const server = await peers.server({ listen: everywhere });
    const { url, certPem } = await peers.access();
    expect(server.url).toBe(url);
    expect(url).toMatch(/^https:\/\//);
    expect(await negotiate(server.port, certPem)).toBe("TLSv1.3");
    expect(await negotiate(server.port, undefined)).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
    expect(await negotiate(server.port, (await other()).certPem)).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
    expect(await negotiate(server.port, certPem, "TLSv1.2")).toMatch(/PROTOCOL_VERSION|EPROTO/);
    expect((await stat(join(peers.home, "tls.pem"))).mode & 0o777).toBe(0o600);
    expect((await peers.client()).url).toBe(url);
  });

  test("keeps its certificate, and makes another for a name that it lacks", async () => {
    await (await peers.server({ listen: everywhere })).stop();
    const { certPem } = await peers.access();
    await (await peers.server({ listen: everywhere })).stop();
    expect((await peers.access()).certPem).toBe(certPem);
    await (await peers.server({ listen: everywhere, hostNames: ["rain.example"] })).stop();
    const named = await peers.access();
    expect(named.certPem).not.toBe(certPem);
    expect(named.url).toMatch(/^https:\/\/rain\.example:/);
    expect(peers.lines.filter((line) => line.includes("made a certificate"))).toHaveLength(2);
    await (await peers.server()).stop();
    expect(await peers.access()).toMatchObject({ url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:/) });
    expect((await peers.access()).certPem).toBeUndefined();
  });

  test("its governors move objects by TLS, each with a certificate of its own", async () => {
    await peers.server({ listen: everywhere });
    const listenHost = "0.0.0.0";
    for (const name of ["a", "b"]) await (await peers.governor(name, { listenHost })).registered();
    const client = await peers.client();
    const session = await client.newSession();
    const big = session.execute(["head", "-c", "300000", "/dev/zero"], { stdout: true, resources: { a: 1 } });
    const copy = session.execute(["cat", big], { stdout: true, resources: { b: 1 } });
    copy.keepOutputs();
    big.keepOutputs();
    await session.submit();
    expect((await copy.output.fetch()).bytes()).toEqual(Buffer.alloc(300_000));
    const certificates = await Promise.all(
      ["a", "b"].map((name) => readFile(join(peers.home, "work", name, "tls.pem"), "utf8")),
    );
    expect(certificates[0]).not.toBe(certificates[1]);
    // Read directly: the server passed nothing on to a governor.
    const audit = await readFile(join(peers.home, "logs", "audit.jsonl"), "utf8");
    const reads = audit.split("\n").filter((line) => line.includes('"verb":"route"'));
    expect(reads.filter((line) => !line.includes('"role":"client"'))).toEqual([]);
    expect(reads.length).toBeGreaterThan(0);
  });

  test("a governor whose certificate is not the registered one gives nothing away", async () => {
    await peers.server({ listen: everywhere });
    const governor = await peers.governor("a", { listenHost: "0.0.0.0", dataPort: 0 });
    await governor.registered();
    // A thief of the port, with another certificate.
    const { keyPem: key, certPem: cert } = await other();
    const asked: string[] = [];
    const thief = createServer({ key, cert }, (request, response) => {
      asked.push(request.url ?? "");
      response.end();
    });
    const seen = new Promise<void>((resolve) => thief.once("connection", () => resolve()));
    await new Promise<void>((resolve) => thief.listen(0, "127.0.0.1", resolve));
    peers.atEnd(() => new Promise((resolve) => thief.close(resolve)));
    const stolen = `https://127.0.0.1:${(thief.address() as AddressInfo).port}`;
    await (await peers.governor("b", { listenHost: "0.0.0.0", dataUrl: stolen })).registered();
    const session = await (await peers.client()).newSession("", { onError: "continue" });
    const big = session.execute(["head", "-c", "300000", "/dev/zero"], { stdout: true, resources: { b: 1 } });
    big.keepOutputs();
    await session.submit();
    await big.wait();
    const fetching = big.output.fetch();
    fetching.catch(() => undefined);
    await seen;
    // What follows a handshake would be there before the end of a connection that came later.
    await negotiate((thief.address() as AddressInfo).port, cert);
    expect(asked).toEqual([]);
  });

  test("is reached through a tunnel, whose near end has another name, with the same certificate", async () => {
    const server = await peers.server({ listen: everywhere });
    const tunnel = createTcpServer((near) => {
      const far = connectTcp(server.port, "127.0.0.1");
      near.pipe(far).pipe(near);
      for (const end of [near, far]) {
        end.on("error", () => undefined);
        end.on("close", () => [near, far].forEach((each) => each.destroy()));
      }
    });
    await new Promise<void>((resolve) => tunnel.listen(0, "127.0.0.1", resolve));
    peers.atEnd(() => new Promise((resolve) => tunnel.close(resolve)));
    const near = `https://127.0.0.1:${(tunnel.address() as AddressInfo).port}`;
    const { host } = new URL(server.url);
    await (await peers.governor("a", { serverUrl: near, tunnelTo: host })).registered();
    await (await peers.governor("b")).registered();
    const session = await (await peers.client()).newSession();
    const big = session.execute(["head", "-c", "300000", "/dev/zero"], { stdout: true, resources: { b: 1 } });
    // What comes to it comes through the server.
    const copy = session.execute(["cat", big], { stdout: true, resources: { a: 1 } });
    copy.keepOutputs();
    await session.submit();
    expect((await copy.output.fetch()).bytes()).toEqual(Buffer.alloc(300_000));
    const stranger = await peers.governor("c", {
      serverUrl: near,
      tunnelTo: host,
      certPem: (await other()).certPem,
    });
    expect((await stranger.exited).code).toBe(77);
  });

  test("a Python client can pin the certificate", async () => {
    const server = await peers.server({ listen: everywhere });
    const script = [
      "import json, ssl, sys, urllib.request",
      `access = json.load(open(${JSON.stringify(peers.accessFile)}))`,
      'context = ssl.create_default_context(cadata=access["certPem"])',
      `with urllib.request.urlopen("https://localhost:${server.port}/rain/v1/challenge", context=context) as answer:`,
      '    print(json.load(answer)["clusterId"] == access["clusterId"])',
    ].join("\n");
    expect((await execa("python3", ["-c", script], { env: { no_proxy: "*" } })).stdout).toBe("True");
  });
});

describe("case 47: the pinned certificate", () => {
  test("without one nothing is sent, with another one nothing either; the message names the access file", async () => {
    const server = await peers.server({ listen: everywhere });
    const { url, keys, clusterId, certPem } = await peers.access();
    const link = (pin: Pin | undefined): Promise<unknown> =>
      connectLink({ url, pin, role: "client", key: keys.client ?? "", clusterId, schema: serverToClient });
    expect(await refusal(link(undefined))).toMatchObject({
      code: "unauthorized",
      message: expect.stringMatching(/There is no certificate for https:/),
    });
    const wrong = await changed({ certPem: (await other()).certPem });
    const refused = await refusal(Client.connect({ accessFile: wrong, reconnectS: 0 }));
    expect(refused).toBeInstanceOf(ConnectionError);
    expect(refused.code).toBe("unauthorized");
    expect(refused.message).toContain(wrong);
    expect(refused.message).toContain("nothing was sent");
    for (const key of Object.values(keys)) expect(refused.message).not.toContain(key);
    expect(
      await refusal(Client.connect({ accessFile: await changed({ certPem: undefined }) })),
    ).toMatchObject({
      code: "bad-file",
      message: expect.stringContaining("an https address needs certPem"),
    });
    expect(await refusal(Client.connect({ accessFile: await changed({ certPem: "x" }) }))).toMatchObject({
      code: "bad-file",
      message: expect.stringContaining("is not a certificate"),
    });
    expect(fingerprintOf(certPem ?? "")).toMatch(/^[0-9a-f]{64}$/);
    // The right one, by a name that is not in the certificate: the pin decides.
    const elsewhere = await changed({ url: `https://127.0.0.1:${server.port}` });
    await (await peers.client(elsewhere)).serverInfo();
    // A governor is as careful, and gives up at once.
    const governor = await peers.governor("g", { certPem: (await other()).certPem });
    expect(await governor.exited).toMatchObject({ code: 77, reason: expect.stringContaining("access.json") });
  });

  test("another machine is not spoken to without encryption", async () => {
    const error = await refusal(
      Client.connect({
        accessFile: await peers.server().then(() => changed({ url: "http://rain.example:7210" })),
        reconnectS: 0,
      }),
    );
    expect(error.code).toBe("unauthorized");
    expect(error.message).toMatch(/rain\.example:7210 is not on this machine's loopback.*nothing was sent/);
  });

  test("a damaged or open file of the certificate is refused", async () => {
    await (await peers.server({ listen: everywhere })).stop();
    const path = join(peers.home, "tls.pem");
    await chmod(path, 0o644);
    expect(await refusal(peers.server({ listen: everywhere }))).toMatchObject({
      code: "bad-file",
      message: expect.stringContaining("chmod 600"),
    });
    await chmod(path, 0o600);
    const text = await readFile(path, "utf8");
    const { certPem } = await other();
    await writeFile(path, text.slice(0, text.indexOf("-----BEGIN CERTIFICATE")) + certPem);
    expect(await refusal(peers.server({ listen: everywhere }))).toMatchObject({
      code: "bad-file",
      message: expect.stringContaining("is damaged"),
    });
  });
});

test("a governor on loopback of another machine is told to listen; one without encryption is refused", async () => {
  await peers.server();
  const problem = async (dataUrl: string): Promise<string> => {
    const governor = await peers.governor("g", { dataUrl });
    return (await governor.exited).reason;
  };
  expect(await problem("http://10.1.2.3:99")).toContain("is not encrypted and not on loopback");
  expect(await problem("https://10.1.2.3:99")).toContain("its certificate was not told");
  expect(await problem("file:///etc")).toContain("not http(s)://host:port");
});
