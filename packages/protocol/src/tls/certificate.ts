import { createPrivateKey, webcrypto, X509Certificate } from "node:crypto";
import { rename } from "node:fs/promises";
import { lstat } from "node:fs/promises";
import { isIP } from "node:net";
import { readPrivateFile, withPrivateDraft } from "../access/index.ts";
import { RainError } from "../errors.ts";

/** What a listener shows, and its private key. */
export interface Certificate {
  readonly keyPem: string;
  readonly certPem: string;
  readonly fingerprint: string;
  /** It was made now: whoever pinned an earlier one must be given this one. */
  readonly isNew: boolean;
}

const DAY_MS = 86_400_000;
/** Who pins a certificate must be given the next one by hand, so it lives long. */
const LIFE_DAYS = 3_650;
const RENEW_DAYS = 30;
/** Clocks of two machines differ. */
const EARLY_DAYS = 2;
const MAX_NAMES = 64;

/**
 * The certificate in the file `path` (mode 0600, with its key); made, or made again, when there is none, when it ends
 * soon, or when it lacks a name of `needed`. `names` are what else is put into a new one.
 * Throws RainError("bad-file") for a file that is open to others or damaged.
 */
export async function openCertificate(
  path: string,
  needed: readonly string[],
  names: readonly string[] = [],
): Promise<Certificate> {
  const known = (await isThere(path)) ? readCertificate(path, await readPrivateFile(path, "")) : undefined;
  if (known !== undefined && isGood(known.certPem, needed)) return { ...known, isNew: false };
  const made = await makeCertificate([...new Set([...needed, ...names])].slice(0, MAX_NAMES));
  await withPrivateDraft(path, made.keyPem + made.certPem, (draft) => rename(draft, path));
  return { ...made, isNew: true };
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );

type Pair = Omit<Certificate, "isNew">;

function readCertificate(path: string, text: string): Pair {
  const block = (name: string): string =>
    new RegExp(`-----BEGIN ${name}-----\\n[A-Za-z0-9+/=\\n]+-----END ${name}-----\\n`).exec(text)?.[0] ?? "";
  const keyPem = block("PRIVATE KEY");
  const certPem = block("CERTIFICATE");
  try {
    if (new X509Certificate(certPem).checkPrivateKey(createPrivateKey(keyPem)))
      return { keyPem, certPem, fingerprint: fingerprintOf(certPem) };
  } catch (cause) {
    throw damaged(path, cause);
  }
  throw damaged(path);
}

const damaged = (path: string, cause?: unknown): RainError =>
  new RainError(
    "bad-file",
    `${path} is damaged: it must hold a private key and its certificate. Remove it to get a new one; access files ` +
      "that were copied from this machine must then be copied again.",
    { path },
    { cause },
  );

function isGood(certPem: string, needed: readonly string[]): boolean {
  const certificate = new X509Certificate(certPem);
  const left = Date.parse(certificate.validTo) - Date.now();
  const begun = Date.parse(certificate.validFrom) <= Date.now();
  const has = (name: string): boolean =>
    (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined;
  return begun && left > RENEW_DAYS * DAY_MS && needed.every(has);
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

async function makeCertificate(names: readonly string[]): Promise<Pair> {
  // Loaded here only: few starts make a certificate.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const alternatives = names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const);
  const made = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: "CN=rain",
      notBefore: new Date(Date.now() - EARLY_DAYS * DAY_MS),
      notAfter: new Date(Date.now() + LIFE_DAYS * DAY_MS),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(alternatives),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    },
    webcrypto,
  );
  const certPem = `${made.toString("pem").trim()}\n`;
  const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const lines = key.match(/.{1,64}/g) ?? [];
  const keyPem = ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n");
  return { keyPem, certPem, fingerprint: fingerprintOf(certPem) };
}

/** SHA-256 of a certificate, 64 hex digits: what is pinned. Throws for a text that holds none. */
export const fingerprintOf = (certificate: string | X509Certificate): string =>
  (typeof certificate === "string" ? new X509Certificate(certificate) : certificate).fingerprint256
    .replaceAll(":", "")
    .toLowerCase();
