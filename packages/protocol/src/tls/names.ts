import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { hostname, networkInterfaces } from "node:os";

/** Does a listener on this host take connections on every address of the machine? */
export const isWildcard = (host: string): boolean => host === "0.0.0.0" || host === "::";

/** How this machine calls itself, to itself and to others. */
export function machineNames(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return [
    ...new Set(["localhost", "127.0.0.1", "::1", hostname().toLowerCase(), ...addresses.map(plainAddress)]),
  ];
}
// A link-local address comes with the name of its interface.
const plainAddress = ({ address }: { readonly address: string }): string => address.split("%")[0] ?? address;

/** The form of a host within a URL and a `Host` header. */
export const urlHost = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

/** A name by which others reach a listener on `host`: itself, or a name of the machine that can be looked up. */
export async function publicHost(host: string): Promise<string> {
  if (!isWildcard(host)) return host.toLowerCase();
  const name = hostname().toLowerCase();
  const isKnown = await lookup(name).then(
    () => true,
    () => false,
  );
  if (isKnown && name !== "localhost") return name;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outer = addresses.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  const best = outer.find(({ family }) => family === "IPv4") ?? outer[0];
  return best === undefined ? "localhost" : plainAddress(best);
}
