import { timing } from "@rain/protocol";
import { SERVER, type GovernorNode } from "./governor-node.ts";
import type { Network } from "./network.ts";
import { Random } from "./random.ts";
import type { ServerNode } from "./server-node.ts";
import type { Cluster } from "./store.ts";
import type { World } from "./world.ts";

/** Everything that faults can touch. */
export interface Targets {
  readonly world: World;
  readonly network: Network;
  readonly server: ServerNode;
  readonly governors: readonly GovernorNode[];
  /** Governors with the identity of another, as when somebody copies a work folder. */
  readonly twins: readonly GovernorNode[];
  readonly clients: readonly string[];
  readonly cluster: Cluster;
}
type Fault = (targets: Targets) => string;

const anyPath = ({ world, governors, clients }: Targets): [string, string] => {
  const { random } = world;
  const names = governors.map(({ name }) => name);
  const a = random.pick([...names, ...clients]);
  const b =
    random.chance(0.7) || clients.includes(a) || names.length < 2
      ? SERVER
      : random.pick(names.filter((name) => name !== a));
  return random.chance(0.5) ? [a, b] : [b, a];
};
const sometimes = (world: World): number => world.random.skewed(50, 25_000);

/** Faults by name. Each starts something and sees to it that it ends. */
const faults: Readonly<Record<string, Fault>> = {
  serverKill: ({ server, world }) => {
    server.end(true);
    server.startAfter(world.random.skewed(10, 20_000));
    return "the server is killed";
  },
  serverPower: ({ server, world }) => {
    server.end(false);
    world.lostPower = true;
    server.startAfter(world.random.skewed(100, 20_000));
    return "the server's machine loses power";
  },
  serverStall: ({ server, world }) => {
    const ms = world.random.skewed(50, 30_000);
    server.process?.stall.stand(ms);
    return `the server stands still for ${Math.round(ms)} ms`;
  },
  governorKill: ({ governors, world }) => {
    const governor = world.random.pick(governors);
    governor.end(true);
    governor.startAfter(world.random.skewed(10, 20_000));
    return `${governor.name} is killed`;
  },
  governorPower: ({ governors, world }) => {
    const governor = world.random.pick(governors);
    governor.end(false);
    governor.startAfter(world.random.skewed(100, 20_000));
    return `the machine of ${governor.name} loses power`;
  },
  governorStall: ({ governors, world }) => {
    const governor = world.random.pick(governors);
    const ms = world.random.skewed(50, 30_000);
    governor.process?.stall.stand(ms);
    return `${governor.name} stands still for ${Math.round(ms)} ms`;
  },
  twin: ({ twins, world }) => {
    const twin = world.random.pick(twins);
    twin.start();
    world.loop.after(sometimes(world), () => twin.takeOut());
    return `${twin.name} starts with the identity of another governor`;
  },
  governorGone: ({ governors, world }) => {
    // The first one stays: it is the only one that is surely large enough for every task.
    const governor = world.random.pick(governors);
    if (governor === governors[0]) return "no governor goes for good";
    governor.isLost = true;
    governor.end(world.random.chance(0.5));
    return `${governor.name} goes for good`;
  },
  governorStop: ({ governors, world }) => {
    const governor = world.random.pick(governors);
    const { process } = governor;
    process?.awake(() => process.input({ type: "stop" }));
    return `${governor.name} is told to stop`;
  },
  cut: (targets) => {
    const { network, world } = targets;
    const [a, b] = anyPath(targets);
    network.cut(a, b);
    network.cut(b, a);
    world.loop.after(sometimes(world), () => {
      network.heal(a, b);
      network.heal(b, a);
    });
    return `${a} and ${b} are cut apart`;
  },
  cutOneWay: (targets) => {
    const { network, world } = targets;
    const [a, b] = anyPath(targets);
    network.cut(a, b);
    world.loop.after(sometimes(world), () => network.heal(a, b));
    return `nothing gets from ${a} to ${b}`;
  },
  slow: (targets) => {
    const { network, world } = targets;
    const [a, b] = anyPath(targets);
    const ms = world.random.skewed(20, 3_000);
    network.slow(a, b, ms);
    world.loop.after(sometimes(world), () => network.slow(a, b, 0));
    return `the way from ${a} to ${b} is up to ${Math.round(ms)} ms slower`;
  },
  reset: (targets) => {
    const [a, b] = anyPath(targets);
    targets.network.reset(a, b);
    return `connections between ${a} and ${b} break`;
  },
  slowDisk: ({ server, world }) => {
    server.disk.slowness = world.random.skewed(5, 1_000);
    world.loop.after(sometimes(world), () => (server.disk.slowness = 0));
    return "the server's disk is slow";
  },
  badDisk: ({ server, world }) => {
    server.disk.failNext = world.random.pick(["ENOSPC", "EIO"]);
    return "the next write of the server's disk fails";
  },
  corruption: ({ cluster, world }) => {
    cluster.corruption = world.random.pick([0.1, 0.5]);
    world.loop.after(sometimes(world), () => (cluster.corruption = 0));
    return "transfers arrive damaged";
  },
  forgetfulness: ({ cluster, world }) => {
    cluster.forgetfulness = world.random.pick([0.1, 0.5]);
    world.loop.after(sometimes(world), () => (cluster.forgetfulness = 0));
    return "sources deny objects";
  },
};
const faultNames: readonly string[] = Object.keys(faults);
/** No process ends by them. */
const gentle: readonly string[] = ["slow", "reset", "slowDisk", "corruption", "forgetfulness"];

/** Each history has its own mixture: some kinds of faults, and a number of them within `duration` ms. */
export function scheduleFaults(targets: Targets, duration: number, isGentle: boolean): void {
  const { world } = targets;
  const { random, loop } = world;
  const enabled = faultNames.filter(() => random.chance(0.4));
  const drawn = enabled.length > 0 ? enabled : [random.pick(faultNames)];
  const kinds = isGentle ? gentle : drawn;
  const count = random.int(20, 40);
  for (let n = 0; n < count; n++) {
    const kind = random.pick(kinds);
    loop.at(random.between(0, duration), () => {
      world.faults++;
      world.log(`FAULT ${faults[kind]?.(targets) ?? ""}`);
    });
  }
}

/** Operators drain governors, in some histories; chance of its own. */
export function scheduleDrains({ world, server, governors }: Targets, duration: number): void {
  const random = new Random(`drain ${world.seed}`);
  if (!random.chance(0.4)) return;
  for (let count = random.int(1, 4); count > 0; count--) {
    const { name } = random.pick(governors);
    world.loop.at(random.between(0, duration), () => {
      const known = [...(server.process?.core?.durable.governors.values() ?? [])];
      const governor = known.find((each) => each.name === name);
      if (!governor) return;
      world.log(`an operator drains ${name}`);
      world.drainAsked.add(name);
      server.process?.drain(governor.id);
    });
  }
}

/**
 * In some histories programs take long, and the server does not hear, or is not heard by, who has just started one.
 * Answers whether nothing else should end programs: or hardly any would live until its governor is given up.
 */
export function scheduleLongCuts({ world, network, governors }: Targets, duration: number): boolean {
  const random = new Random(`long cut ${world.seed}`);
  if (governors.length < 2 || !random.chance(0.4)) return false;
  let left = random.int(1, 3);
  world.onRun.push((run, name) => {
    if (left === 0 || world.loop.now > duration || !random.chance(0.2)) return;
    left -= 1;
    world.stretched.set(run, 2 * timing.leaseMs);
    const paths = random.pick([
      [[name, SERVER]],
      [[SERVER, name]],
      [
        [name, SERVER],
        [SERVER, name],
      ],
    ] as const);
    world.faults++;
    world.log(`FAULT ${name} has a long program, and nothing gets through on ${paths.length} ways`);
    for (const [from, to] of paths) network.cut(from, to);
    world.loop.after(random.between(timing.leaseMs, 3 * timing.leaseMs), () => {
      for (const [from, to] of paths) network.heal(from, to);
    });
  });
  return random.chance(0.5);
}

/** Faults are over: everything runs and every path is open. */
export function endFaults({ world, network, server, governors, twins, cluster }: Targets): void {
  network.healAll();
  server.disk.slowness = 0;
  server.disk.failNext = undefined;
  cluster.corruption = 0;
  cluster.forgetfulness = 0;
  server.start();
  for (const twin of twins) twin.takeOut();
  // Whoever drained a governor that nobody can take over from starts it anew.
  for (const governor of governors) if (world.drainAsked.has(governor.name)) governor.end(true);
  for (const governor of governors) governor.start();
}
